"""What of a run's checkpoints stays on the disk while one is on its way to a store that takes its time."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from tests.unit.trainer.child_runs import a_run
from tests.unit.trainer.place import SHORT, FakeBlobs, Place, until
from tunedeck_chassis.blobs import Blob
from tunedeck_contracts.message import utc_now
from tunedeck_trainer.checkpoint_store import CheckpointStore
from tunedeck_trainer.pipe import CHECKPOINTS_FOLDER, CheckpointWritten
from tunedeck_trainer.room import Room


class SlowBlobs(FakeBlobs):
    """Takes its first archive only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.is_let = asyncio.Event()

    async def put(self, chunks: AsyncIterator[bytes], *, filename: str, **how: object) -> Blob:
        self.asked.append(filename)
        await self.is_let.wait()
        return await super().put(chunks, filename=filename)


@pytest.fixture
async def slow(place: Place) -> AsyncIterator[tuple[CheckpointStore, SlowBlobs]]:
    blobs = SlowBlobs()
    around = replace(place.around, blobs=cast(Any, blobs))
    store = CheckpointStore(
        a_run(SHORT), around, place.settings.work_dir, Room(around.disk, print, "They wait")
    )
    works = [asyncio.create_task(store.run()), asyncio.create_task(store.prune())]
    yield store, blobs
    for work in works:
        work.cancel()
    await asyncio.gather(*works, return_exceptions=True)


def write(store: CheckpointStore, work_dir: Path, step: int) -> None:
    folder = work_dir / CHECKPOINTS_FOLDER / str(step)
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(bytes(100))
    store.written(CheckpointWritten(step=step, iteration=step, validation_loss=None, created_at=utc_now()))


def on_disk(work_dir: Path) -> set[str]:
    return {one.name for one in (work_dir / CHECKPOINTS_FOLDER).iterdir()}


async def test_while_one_is_stored_those_between_it_and_the_newest_go(
    place: Place, slow: tuple[CheckpointStore, SlowBlobs]
) -> None:
    store, blobs = slow
    work = place.settings.work_dir
    write(store, work, 1)
    await until(lambda: bool(blobs.asked))
    for step in range(2, 50):
        write(store, work, step)
    # The child has published it, and its message is on its way.
    (work / CHECKPOINTS_FOLDER / "50").mkdir()
    await until(lambda: on_disk(work) == {"1", "49", "50"})
    blobs.is_let.set()
    await until(lambda: store.is_settled and on_disk(work) == {"49", "50"})
    assert [one.step for one in place.bus.registered] == [1, 49]


async def test_the_one_registered_last_stays_for_a_run_that_goes_on_here(
    place: Place, slow: tuple[CheckpointStore, SlowBlobs]
) -> None:
    store, blobs = slow
    work = place.settings.work_dir
    blobs.is_let.set()
    write(store, work, 1)
    await until(lambda: store.is_settled)
    blobs.away = True
    for step in range(2, 5):
        write(store, work, step)
    await until(lambda: len(blobs.asked) > 1 and on_disk(work) == {"1", "4"})


async def test_a_disk_that_refuses_once_ends_no_run(
    place: Place, slow: tuple[CheckpointStore, SlowBlobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, blobs = slow
    work, delete = place.settings.work_dir, store._delete_before
    refused = asyncio.Event()

    def refuse_once(*arguments: Any) -> None:
        if not refused.is_set():
            refused.set()
            raise OSError("Input/output error")
        delete(*arguments)

    monkeypatch.setattr(store, "_delete_before", refuse_once)
    write(store, work, 1)
    await until(lambda: bool(blobs.asked) and refused.is_set())
    for step in (2, 3):
        write(store, work, step)
    await until(lambda: on_disk(work) == {"1", "3"})
