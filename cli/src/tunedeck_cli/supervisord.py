"""`python -m tunedeck_cli.supervisord`: supervisord, which outlives a full disk.

It prints what goes wrong with a log to standard error. Where that is a file on the same full disk, this fails
too, and ends supervisord and with it the whole stack. Here a log line that finds no room is left out.
"""

from supervisor import loggers
from supervisor.supervisord import main


def _left_out(_: loggers.Handler) -> None:
    """In place of printing."""


def outlive_a_full_disk() -> None:
    """Have no handler of supervisord's logs raise."""
    loggers.Handler.handleError = _left_out


if __name__ == "__main__":
    outlive_a_full_disk()
    main()
