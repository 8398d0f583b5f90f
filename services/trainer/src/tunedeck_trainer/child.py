"""The training process: `python -m tunedeck_trainer.child <run folder> <descriptor>`.

It has no bus and no database. It reads `spec.json` in the folder, tells its parent over the
descriptor what happens, and takes commands from standard input.
"""

import logging
import sys
import warnings
from pathlib import Path

from tunedeck_contracts.jobs import Wanted
from tunedeck_trainer import failures, pipe
from tunedeck_trainer.checkpoint_files import TornCheckpoint
from tunedeck_trainer.training_record import LOG


def main() -> int:
    """Train; the exit status is 1 when the run failed."""
    folder, tell = Path(sys.argv[1]), pipe.Teller(int(sys.argv[2]))
    wishes = pipe.Wishes()
    pipe.heed_commands(sys.stdin.fileno(), wishes)
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(levelname)s %(message)s")
    for chatty in ("httpx", "httpcore", "accelerate", "filelock", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    kept = logging.FileHandler(folder / LOG, encoding="utf-8")
    kept.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(kept)
    logging.captureWarnings(True)
    # Deprecations inside libraries are nothing to the person who reads the job's log.
    warnings.simplefilter("ignore", FutureWarning)
    try:
        spec = pipe.Spec.model_validate_json((folder / pipe.SPEC_FILE).read_bytes())
        from tunedeck_trainer.recipe import fine_tune

        tell(pipe.Finished(result=fine_tune(spec, folder, tell, wishes)))
    except failures.Cancelled:
        tell(pipe.Stopped(wanted=Wanted.CANCEL))
    except failures.Paused:
        tell(pipe.Stopped(wanted=Wanted.PAUSE))
    except TornCheckpoint as error:
        tell(pipe.CheckpointRefused(reason=str(error)))
    except Exception as error:
        logging.getLogger("tunedeck").error("Training failed: %s", error, exc_info=_unexpected(error))
        tell(pipe.Failed(failure=failures.of_exception(error)))
        return 1
    return 0


def _unexpected(error: Exception) -> bool:
    return not isinstance(error, failures.RunFailed)


if __name__ == "__main__":
    sys.exit(main())
