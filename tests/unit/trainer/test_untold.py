"""What telemetry has not stored when a run is reported is told on."""

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.trainer.place import SHORT, Place, until
from tunedeck_contracts.runs import Outcome
from tunedeck_contracts.subjects import TrainingKind
from tunedeck_contracts.telemetry import Stored
from tunedeck_trainer import untold
from tunedeck_trainer.spool import Spool
from tunedeck_trainer.supervision import Supervision
from tunedeck_trainer.untold import FOLDER, Untold


async def test_points_that_telemetry_has_not_stored_outlive_their_run(place: Place) -> None:
    stored = place.bus.stored
    place.bus.stored = lambda: Stored(losses=0, resources=0, logs=0)  # type: ignore[method-assign]
    settings = place.settings.model_copy(update={"drain_seconds": 0.5})
    await Supervision(place.run(SHORT), replace(place.around, settings=settings)).supervise()
    assert place.bus.reports[0].outcome is Outcome.COMPLETED
    kept = settings.work_dir / FOLDER
    assert [file.name for file in kept.iterdir()] == ["job_1_aaaa.1.db"]
    # The stream has lost what it had, and telemetry is back.
    place.bus.events.clear()
    place.bus.stored = stored  # type: ignore[method-assign]
    working = asyncio.create_task(Untold(place.around.bus, settings.work_dir, "/trainer/t", 0.5).run())
    await until(lambda: not list(kept.iterdir()) or working.done())
    working.cancel()
    assert {one["point"]["iteration"] for one in place.bus.of_kind("loss")} == {1, 2, 3, 4}


async def test_nothing_is_kept_of_a_run_whose_points_are_stored(place: Place) -> None:
    await Supervision(place.run(SHORT), place.around).supervise()
    assert not list((place.settings.work_dir / FOLDER).glob("*.db"))


async def test_a_torn_file_is_put_aside_and_one_that_finds_no_room_waits(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = place.settings.work_dir / FOLDER
    folder.mkdir()
    (folder / "job_1_aaaa.1.db").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    torn = folder / "job_3_cccc.1.db"
    spool_of_three = Spool(torn, 1_000_000)
    for number in range(1, 101):
        spool_of_three.add(TrainingKind.LOSS, number, b"x" * 4000)
    spool_of_three.close()
    # Its beginning can be read, and what is further on cannot.
    with torn.open("r+b") as opened:
        opened.seek(torn.stat().st_size // 4)
        opened.write(b"x" * (torn.stat().st_size // 2))
    waiting = Spool(folder / "job_2_bbbb.1.db", 1000)
    waiting.add(TrainingKind.LOSS, 1, b"{}")
    waiting.close()
    is_full = True
    opened: list[Path] = []

    def spool(file: Path, most_bytes: int) -> Spool:
        opened.append(file)
        if is_full and file.name.startswith("job_2"):
            raise sqlite3.OperationalError("disk I/O error")
        return Spool(file, most_bytes)

    monkeypatch.setattr(untold, "Spool", spool)
    monkeypatch.setattr(untold, "LOOK_SECONDS", 0.05)
    working = asyncio.create_task(Untold(place.around.bus, place.settings.work_dir, "/trainer/t", 5).run())
    await until(lambda: len(list(folder.glob("*.broken"))) == 2 or working.done())
    assert {one.stem[:5] for one in folder.glob("*.broken")} == {"job_1", "job_3"}
    assert [one.stem[:5] for one in folder.glob("*.db")] == ["job_2"]
    is_full = False
    await until(lambda: not list(folder.glob("*.db")) or working.done())
    assert not working.done()
    working.cancel()
    assert [event.about for event in place.bus.events if event.about != "job_3_cccc"] == ["job_2_bbbb"]
