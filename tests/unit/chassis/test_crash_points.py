"""Crash points: a process dies at an armed point, once, and never at another."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tunedeck_chassis import crash_points

PROGRAM = (
    "from tunedeck_chassis.crash_points import reached; reached('a.first'); reached('a.second'); print('end')"
)


def run(folder: Path | None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ}
    environment.pop(crash_points.VARIABLE, None)
    if folder is not None:
        environment[crash_points.VARIABLE] = str(folder)
    return subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False
    )


def test_an_armed_point_kills_once(tmp_path: Path) -> None:
    crash_points.arm(tmp_path, "a.second")
    killed = run(tmp_path)
    assert killed.returncode == -signal.SIGKILL
    assert "end" not in killed.stdout
    assert not crash_points.is_armed(tmp_path, "a.second")
    assert run(tmp_path).stdout == "end\n"


def test_nothing_is_armed_without_the_folder_or_at_another_point(tmp_path: Path) -> None:
    crash_points.arm(tmp_path, "a.third")
    assert run(None).stdout == "end\n"
    assert run(tmp_path).stdout == "end\n"
    assert crash_points.is_armed(tmp_path, "a.third")
