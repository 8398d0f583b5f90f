"""supervisord's logs on a disk without room."""

import subprocess
import sys

PROGRAM = """
import sys
from supervisor.loggers import getLogger, handle_file
from tunedeck_cli.supervisord import outlive_a_full_disk
{first}
logger = getLogger()
handle_file(logger, "/dev/full", "%(message)s")
logger.info("a line")
print("goes on")
"""


def run(first: str) -> str:
    program = [sys.executable, "-c", PROGRAM.format(first=first)]
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        return subprocess.run(program, stdout=subprocess.PIPE, stderr=full, text=True, check=False).stdout


def test_a_line_without_room_is_left_out() -> None:
    assert run("outlive_a_full_disk()") == "goes on\n"


def test_supervisord_by_itself_would_end() -> None:
    assert run("") == "", "supervisord outlives it by itself now: drop our own"
