"""What a container's healthcheck sees of a service."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

from tunedeck_chassis.healthcheck import LONGEST_SECONDS, problem
from tunedeck_chassis.heartbeat import Heartbeat
from tunedeck_chassis.link import Link

BEAT = 0.01


async def _touched_after(file: Path, moment: float) -> None:
    async with asyncio.timeout(5):
        while _touched(file) <= moment:
            await asyncio.sleep(BEAT)


def _touched(file: Path) -> float:
    return file.stat().st_mtime if file.exists() else 0


async def test_it_beats_again_and_again_while_it_is_open(tmp_path: Path) -> None:
    file = tmp_path / "heartbeat"
    async with Heartbeat(file, Link(), BEAT).beating():
        await _touched_after(file, 0)
        await _touched_after(file, _touched(file))
    os.utime(file, (1, 1))
    await asyncio.sleep(5 * BEAT)
    assert _touched(file) == 1


async def test_it_rests_while_nats_is_away(tmp_path: Path) -> None:
    file = tmp_path / "heartbeat"
    link = Link()
    async with Heartbeat(file, link, BEAT).beating():
        await _touched_after(file, 0)
        await link.on_lost()
        os.utime(file, (1, 1))
        await asyncio.sleep(5 * BEAT)
        assert _touched(file) == 1
        await link.on_back()
        await _touched_after(file, 1)


async def test_a_folder_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    file = tmp_path / "later" / "heartbeat"
    async with Heartbeat(file, Link(), BEAT).beating():
        await asyncio.sleep(5 * BEAT)
        file.parent.mkdir()
        await _touched_after(file, 0)


def test_the_check_says_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "heartbeat"
    assert "has not started" in (problem(file) or "")
    file.touch()
    assert problem(file) is None
    late = time.time() - LONGEST_SECONDS - 1
    os.utime(file, (late, late))
    assert "stands still" in (problem(file) or "")


def test_the_command_fails_with_the_sentence_and_passes_with_none(tmp_path: Path) -> None:
    file = tmp_path / "heartbeat"
    command = [sys.executable, "-m", "tunedeck_chassis.healthcheck", str(file)]
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert failed.returncode == 1 and "has not started" in failed.stderr
    file.touch()
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
