"""A trainer whose disk is full: it says so, waits where it can, and stays alive."""

import asyncio
import errno
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.small_disk import fill, needs_root, small_disk
from tests.unit.trainer.place import SHORT, FakeBus, Place, until
from tunedeck_contracts.runs import Outcome
from tunedeck_trainer import runner
from tunedeck_trainer.hardware import Hardware
from tunedeck_trainer.idle import IdleReporter
from tunedeck_trainer.journal import Journal
from tunedeck_trainer.runner import Runner

DISK = 4 * 2**20
ON_THE_DISK = """
from pathlib import Path
from tunedeck_contracts.subjects import TrainingKind
from tunedeck_contracts.telemetry import Stored
from tunedeck_trainer.spool import Spool

LOSS, disk = TrainingKind.LOSS, Path("/mnt")
spool = Spool(disk / "spool.db", most_bytes=2**30)
filler = disk / "filler"
filler.write_bytes(b"x" * 2**21)
kept = 0
while spool.add(LOSS, kept + 1, b"x" * 100_000):
    kept += 1
assert 0 < kept == spool.last(LOSS) < 30, kept
print("refused")
spool.free(Stored(losses=1, resources=0, logs=0))
filler.unlink()
assert spool.add(LOSS, kept + 1, b"x" * 100_000)
spool.free(Stored(losses=kept, resources=0, logs=0))
assert [one.number for one in spool.after(0, 100)] == [kept + 1]
print("goes on")
"""
"""Its bound is above the disk's size."""
NO_ROOM = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def disk() -> Iterator[Path]:
    with small_disk(DISK) as found:
        yield found


@needs_root
def test_a_spool_on_a_full_disk_refuses_and_goes_on_when_there_is_room() -> None:
    # In a process inside the disk's namespace: SQLite resolves the link that leads to it from outside.
    mount = f"mount -t tmpfs -o size={DISK} tmpfs /mnt && exec {sys.executable} -c '{ON_THE_DISK}'"
    done = subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "refused\ngoes on\n"), done.stderr


@needs_root
async def test_an_idle_trainer_on_a_full_disk_lives(disk: Path) -> None:
    bus: Any = FakeBus()
    journal = Journal(disk / "work")
    idle: Any = type("Idle", (), {"busy": False})()
    filler = disk / "filler"
    fill(filler, DISK)
    with pytest.raises(OSError, match="No space"):
        journal.next_idle_sample()
    refused = asyncio.Event()
    next_idle_sample = journal.next_idle_sample

    def told_when_refused() -> int:
        try:
            return next_idle_sample()
        except OSError:
            refused.set()
            raise

    journal.next_idle_sample = told_when_refused  # type: ignore[method-assign]
    working = asyncio.create_task(IdleReporter(bus, Hardware(disk), journal, idle, "t_1", 0.01).run())
    await asyncio.wait_for(refused.wait(), 20)
    assert not working.done()
    filler.unlink()
    await until(lambda: bool(bus.events) or working.done())
    assert not working.done()
    working.cancel()
    journal.close()


async def test_a_run_that_finds_no_room_for_its_rows_fails_and_the_trainer_asks_for_the_next(
    place: Place,
) -> None:
    async def read(_: str) -> AsyncIterator[bytes]:
        raise NO_ROOM
        yield b""

    place.bus.runs.append(place.run(SHORT))
    place.blobs.read = read  # type: ignore[method-assign]
    working = asyncio.create_task(Runner(place.around, place.journal, ["cpu"]).run())
    await until(lambda: len(place.bus.claims) >= 2 or working.done())
    assert not working.done()
    working.cancel()
    [failed] = place.bus.reports
    assert (failed.outcome, failed.failure and failed.failure.code) == (Outcome.FAILED, "disk_full")
    assert not place.journal.held


async def test_a_trainer_without_room_leaves_the_queue_alone_until_there_is_some(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LEAST_ROOM_BYTES", 2**62)
    place.bus.runs.append(place.run(SHORT))
    looked: list[object] = []
    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: looked.append(folder) or real(folder))
    working = asyncio.create_task(Runner(place.around, place.journal, ["cpu"]).run())
    await until(lambda: len(looked) >= 3 or working.done())
    assert (place.bus.claims, len(place.bus.runs)) == ([], 1)
    monkeypatch.setattr(runner, "LEAST_ROOM_BYTES", 1)
    await until(lambda: bool(place.bus.claims) or working.done())
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


async def test_a_run_that_cannot_be_noted_fails_for_the_full_disk(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: Any) -> None:
        raise NO_ROOM

    monkeypatch.setattr(place.journal, "hold", no_room)
    monkeypatch.setattr(place.journal, "let_go", no_room)
    place.bus.runs.append(place.run(SHORT))
    working = asyncio.create_task(Runner(place.around, place.journal, ["cpu"]).run())
    await until(lambda: len(place.bus.claims) >= 2 or working.done())
    assert not working.done()
    working.cancel()
    assert [one.failure and one.failure.code for one in place.bus.reports] == ["disk_full"]
