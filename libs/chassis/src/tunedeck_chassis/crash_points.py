"""Named points between two writes, at which a test can have the process killed.

`reached("jobs.claimed")` does nothing unless the environment's TUNEDECK_CRASH_AT is a folder with a file of
that name. The process that takes the file away is killed, so each arming kills once: who is started again
goes on.
"""

import os
import signal
from pathlib import Path

VARIABLE = "TUNEDECK_CRASH_AT"


def arm(folder: Path, name: str) -> None:
    """Have the next process that reaches the point, with this folder in its environment, killed there."""
    (folder / name).touch()


def is_armed(folder: Path, name: str) -> bool:
    """Whether nobody has reached the point since it was armed."""
    return (folder / name).exists()


def reached(name: str) -> None:
    """Die here, as by `kill -9`, if the point is armed. `name` is `<service>.<what was just done>`."""
    folder = os.environ.get(VARIABLE)
    if folder is None:
        return
    try:
        (Path(folder) / name).unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
