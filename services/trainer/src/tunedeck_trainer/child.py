"""The training process: `python -m tunedeck_trainer.child <run folder> <descriptor>`.

It has no bus and no database. It reads `spec.json` in the folder, tells its parent over the
descriptor what happens, and takes commands from standard input.
"""

import logging
import sys
import warnings
from pathlib import Path

from tunedeck_trainer import failures, pipe


def main() -> int:
    """Train; the exit status is 0 when the run finished or was cancelled."""
    folder, tell = Path(sys.argv[1]), pipe.Teller(int(sys.argv[2]))
    cancelled = pipe.cancel_on_command(sys.stdin.fileno())
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(levelname)s %(message)s")
    for chatty in ("httpx", "httpcore", "accelerate", "filelock", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    # Deprecations inside libraries are nothing to the person who reads the job's log.
    warnings.simplefilter("ignore", FutureWarning)
    try:
        spec = pipe.Spec.model_validate_json((folder / pipe.SPEC_FILE).read_bytes())
        from tunedeck_trainer.recipe import fine_tune

        tell(pipe.Finished(result=fine_tune(spec, folder, tell, cancelled)))
    except failures.Cancelled:
        tell(pipe.Finished(result=None))
    except Exception as error:
        logging.getLogger("tunedeck").error("Training failed: %s", error, exc_info=_unexpected(error))
        tell(pipe.Failed(failure=failures.of_exception(error)))
        return 1
    return 0


def _unexpected(error: Exception) -> bool:
    return not isinstance(error, failures.RunFailed)


if __name__ == "__main__":
    sys.exit(main())
