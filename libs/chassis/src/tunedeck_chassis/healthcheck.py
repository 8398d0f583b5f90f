"""`python -m tunedeck_chassis.healthcheck FILE`: whether the process that touches the file still works.

What a container's healthcheck runs every few seconds, so it loads the standard library only.
"""

import sys
import time
from pathlib import Path

LONGEST_SECONDS = 15.0
"""Several beats, for a machine that is busy."""


def problem(file: Path) -> str | None:
    """What is wrong, in a sentence, or None."""
    try:
        age = time.time() - file.stat().st_mtime
    except FileNotFoundError:
        return f"{file} is not there: the service has not started."
    if age > LONGEST_SECONDS:
        return f"{file} was touched {age:.0f} s ago: the service stands still, or NATS is away."
    return None


if __name__ == "__main__":
    sys.exit(problem(Path(sys.argv[1])))
