"""What telemetry has not stored when a run is reported is told on."""

import asyncio
from dataclasses import replace

from tests.unit.trainer.place import SHORT, Place, until
from tunedeck_contracts.runs import Outcome
from tunedeck_contracts.telemetry import Stored
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
