"""The training process: `python -m tunedeck_trainer.child <run folder> <descriptor>`; of a run on several
devices, one of them, and the descriptor is a path below its launcher's folder in /proc.

It has no bus and no database. It reads `spec.json` in the folder, tells its parent over the
descriptor what happens, and takes commands from standard input.
"""

import logging
import os
import sys
import warnings
from pathlib import Path

from tunedeck_chassis.imports import uncollected
from tunedeck_contracts.jobs import Wanted
from tunedeck_trainer import failures, lifeline, pipe
from tunedeck_trainer.checkpoint_files import TornCheckpoint
from tunedeck_trainer.training_record import LOG


def main() -> int:
    """Train; the exit status is 1 when the run failed."""
    folder, tell = Path(sys.argv[1]), pipe.Teller(sys.argv[2])
    wishes = pipe.Wishes()
    is_first = os.environ.get("RANK", "0") == "0"
    if "RANK" in os.environ:
        lifeline.end_with(int(sys.argv[2].split("/")[2]))
    if is_first:
        pipe.heed_commands(sys.stdin.fileno(), wishes)
    level = logging.INFO if is_first else logging.ERROR
    logging.basicConfig(level=level, stream=sys.stdout, format="%(levelname)s %(message)s")
    for chatty in ("httpx", "httpcore", "accelerate", "filelock", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    if is_first:
        kept = logging.FileHandler(folder / LOG, encoding="utf-8")
        kept.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logging.getLogger().addHandler(kept)
    logging.captureWarnings(True)
    # Deprecations inside libraries are nothing to the person who reads the job's log.
    warnings.simplefilter("ignore", FutureWarning)
    try:
        spec = pipe.Spec.model_validate_json((folder / pipe.SPEC_FILE).read_bytes())
        with uncollected():
            from tunedeck_trainer.recipe import fine_tune

        own = folder if is_first else _made(folder / f"process-{os.environ['RANK']}")
        told = tell if is_first else _unheard
        told(pipe.Finished(result=fine_tune(spec, own, told, wishes)))
    except failures.Cancelled:
        told(pipe.Stopped(wanted=Wanted.CANCEL))
    except failures.Paused:
        told(pipe.Stopped(wanted=Wanted.PAUSE))
    except TornCheckpoint as error:
        told(pipe.CheckpointRefused(reason=str(error)))
    except failures.PeerLost as error:
        logging.getLogger("tunedeck").error("Another process of the run is gone: %s", error)
        return 1
    except Exception as error:
        logging.getLogger("tunedeck").error("Training failed: %s", error, exc_info=_unexpected(error))
        tell(pipe.Failed(failure=failures.of_exception(error)))
        return 1
    return 0


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _unheard(message: pipe.FromChild) -> None:
    """What the run's first process tells too."""


def _unexpected(error: Exception) -> bool:
    return not isinstance(error, failures.RunFailed)


if __name__ == "__main__":
    sys.exit(main())
