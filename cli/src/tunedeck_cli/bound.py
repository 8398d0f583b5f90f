"""`python -m tunedeck_cli.bound COMMAND…` becomes COMMAND, and gets SIGTERM when its parent dies.

Not even SIGKILL of the command or of supervisord then leaves a server behind.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Set the parent-death signal, which outlives exec, and exec."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
