"""A run from claim to report, over a bus and a blob store that are lists in memory, with the real child."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from pymongo.errors import AutoReconnect

from tests.unit.trainer.place import LONG, SHORT, Place, children, until
from tunedeck_chassis.blobs import ORPHAN_AGE
from tunedeck_contracts import rpc
from tunedeck_contracts.errors import Unavailable
from tunedeck_contracts.jobs import Phase, Wanted
from tunedeck_contracts.runs import Claimed, Outcome
from tunedeck_contracts.telemetry import Stored
from tunedeck_trainer import supervision
from tunedeck_trainer.journal import Held, Journal
from tunedeck_trainer.reporting import FencedOut
from tunedeck_trainer.runner import Runner
from tunedeck_trainer.supervision import Supervision


async def test_a_run_is_told_stored_and_reported(place: Place) -> None:
    await Supervision(place.run(SHORT), place.around).supervise()
    [report] = place.bus.reports
    assert (report.outcome, report.last_iteration) == (Outcome.COMPLETED, 4)
    assert report.probed is not None and report.probed.split is None
    assert {one.probed for one in place.bus.beats} <= {None, report.probed}
    assert [one["point"]["iteration"] for one in place.bus.of_kind("loss")] == [1, 2, 3, 4]
    assert [one["line"]["number"] for one in place.bus.of_kind("log")][:2] == [1, 2]
    kinds = [event.id.split(":")[2] for event in place.bus.events]
    assert kinds.index("resources") < kinds.index("loss")
    assert {event.id for event in place.bus.events} >= {"job_1_aaaa:1:loss:1", "job_1_aaaa:1:resources:1"}
    assert {artifact.path for artifact in report.artifacts} >= {"adapter_model.safetensors", "manifest.json"}
    assert (place.settings.adapters_dir / "job_1_aaaa" / "adapter_config.json").is_file()
    assert not (place.settings.work_dir / "job_1_aaaa").exists()


async def test_what_was_found_before_the_first_step_is_told_at_once(place: Place) -> None:
    rarely = place.run(SHORT).model_copy(update={"beat_seconds": 3600})
    await Supervision(rarely, place.around).supervise()
    assert [one.probed is not None for one in place.bus.beats] == [False, True]


async def test_files_are_stored_once_for_a_while_though_the_store_is_away_in_between(place: Place) -> None:
    place.blobs.faults.append(AutoReconnect("away"))
    await Supervision(place.run(SHORT), place.around).supervise()
    [report] = place.bus.reports
    assert not place.blobs.faults
    assert place.blobs.put_for == [(artifact.path, ORPHAN_AGE) for artifact in report.artifacts]
    assert "manifest.json" in place.blobs.held


async def test_a_disk_that_does_not_take_the_tuned_model_ends_nothing(place: Place) -> None:
    place.settings.adapters_dir.write_text("No folder.")
    await Supervision(place.run(SHORT), place.around).supervise()
    [report] = place.bus.reports
    assert report.outcome is Outcome.COMPLETED
    assert "manifest.json" in place.blobs.held
    assert not (place.settings.work_dir / "job_1_aaaa").exists()


async def test_an_outage_of_the_bus_ends_nothing_and_loses_nothing(place: Place) -> None:
    task = asyncio.create_task(Supervision(place.run(SHORT), place.around).supervise())
    place.bus.away = True
    await until(lambda: bool(children()))
    await until(lambda: not children())
    place.bus.away = False
    await asyncio.wait_for(task, 120)
    assert [one["point"]["iteration"] for one in place.bus.of_kind("loss")] == [1, 2, 3, 4]
    assert place.bus.reports[0].outcome is Outcome.COMPLETED


async def test_a_cancel_is_heeded(place: Place) -> None:
    task = asyncio.create_task(Supervision(place.run(LONG), place.around).supervise())
    await place.until_training()
    place.bus.wanted = Wanted.CANCEL
    await asyncio.wait_for(task, 120)
    assert place.bus.reports[0].outcome is Outcome.CANCELLED
    assert place.bus.reports[0].last_iteration == len(place.bus.of_kind("loss"))


async def test_who_is_fenced_out_kills_the_child_and_reports_nothing(place: Place) -> None:
    task = asyncio.create_task(Supervision(place.run(LONG), place.around).supervise())
    await place.until_training()
    place.bus.fenced = True
    with pytest.raises(FencedOut):
        await asyncio.wait_for(task, 120)
    assert children() == []
    assert place.bus.reports == []


async def test_two_that_find_out_at_once_that_they_are_fenced_out_end_the_run_and_not_the_trainer(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    fenced = asyncio.Event()

    async def find_out(*_: object) -> None:
        await fenced.wait()
        raise FencedOut("Another run has the job.")

    monkeypatch.setattr(supervision.CheckpointStore, "run", find_out)
    monkeypatch.setattr(Supervision, "_sample", find_out)
    task = asyncio.create_task(Supervision(place.run(LONG), place.around).supervise())
    await place.until_training()
    fenced.set()
    with pytest.raises(FencedOut):
        await asyncio.wait_for(task, 120)
    assert children() == []


async def test_a_child_killed_from_outside_is_a_lost_worker(place: Place) -> None:
    task = asyncio.create_task(Supervision(place.run(LONG), place.around).supervise())
    await place.until_training()
    os.kill(children()[0].pid, signal.SIGKILL)
    await asyncio.wait_for(task, 120)
    assert place.bus.reports[0].outcome is Outcome.LOST


async def test_a_stopping_service_leaves_a_checkpoint_and_gives_the_job_back(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "STOP_SECONDS", 60)
    task = asyncio.create_task(Supervision(place.run(LONG), place.around).supervise())
    await place.until_training()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children() == []
    [report] = place.bus.reports
    assert report.outcome is Outcome.PAUSED, "of lost runs a job has only so many"
    assert place.bus.registered[-1].iteration == report.last_iteration > 0


async def test_a_run_that_does_not_stop_in_time_is_given_back_all_the_same(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "STOP_SECONDS", 0)
    task = asyncio.create_task(Supervision(place.run(LONG), place.around).supervise())
    await until(lambda: bool(children()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children() == []
    assert [one.outcome for one in place.bus.reports] == [Outcome.PAUSED]


async def test_a_cancel_does_not_wait_for_a_store_that_is_away(place: Place) -> None:
    asked = asyncio.Event()

    async def read(_: str) -> AsyncIterator[bytes]:
        asked.set()
        await asyncio.Event().wait()
        yield b""

    run = place.run(SHORT)
    place.blobs.read = read  # type: ignore[method-assign]
    task = asyncio.create_task(Supervision(run, place.around).supervise())
    await asyncio.wait_for(asked.wait(), 120)
    place.bus.wanted = Wanted.CANCEL
    await asyncio.wait_for(task, 120)
    assert place.bus.reports[0].outcome is Outcome.CANCELLED


async def test_a_cancel_after_training_waits_neither_for_the_files_nor_for_telemetry(place: Place) -> None:
    place.bus.stored = lambda: Stored(losses=0, resources=0, logs=0)  # type: ignore[method-assign]
    for is_storing in (True, False):
        place.blobs.away = is_storing
        place.bus.wanted = Wanted.RUN
        run = place.run(SHORT)
        around = replace(place.around, settings=place.settings.model_copy(update={"drain_seconds": 3600.0}))
        task = asyncio.create_task(Supervision(run, around).supervise())
        after = Phase.SAVING if is_storing else Phase.FINALIZING
        await until(lambda phase=after: bool(place.bus.beats) and place.bus.beats[-1].phase is phase)
        place.bus.wanted = Wanted.CANCEL
        await asyncio.wait_for(task, 120)
        assert place.bus.reports.pop().outcome is Outcome.CANCELLED
        place.bus.beats.clear()
    assert not (place.settings.adapters_dir / "job_1_aaaa").exists()


async def test_a_cancel_waits_neither_for_telemetry_nor_for_room_in_the_spool(place: Place) -> None:
    place.bus.stored = lambda: Stored(losses=0, resources=0, logs=0)  # type: ignore[method-assign]
    settings = place.settings.model_copy(update={"spool_bytes": 3000, "drain_seconds": 3600.0})
    around = replace(place.around, settings=settings)
    task = asyncio.create_task(Supervision(place.run(LONG), around).supervise())
    await place.until_training()
    # Nothing is freed: by now the spool is full, and the child waits.
    await until(lambda: bool(place.bus.beats) and place.bus.beats[-1].step > 3)
    place.bus.wanted = Wanted.CANCEL
    await asyncio.wait_for(task, 120)
    [report] = place.bus.reports
    assert report.outcome is Outcome.CANCELLED
    told = {one["point"]["iteration"] for one in place.bus.of_kind("loss")}
    assert told == set(range(1, report.last_iteration + 1)), "what is told has no hole"


async def test_rows_that_are_not_the_pinned_ones_fail_the_run(place: Place) -> None:
    run = place.run(SHORT)
    place.blobs.held["b"] += b"\n"
    await Supervision(run, place.around).supervise()
    failure = place.bus.reports[0].failure
    assert failure is not None
    assert failure.code == "bad_data"


async def test_weights_that_are_not_the_pinned_ones_fail_the_run(place: Place) -> None:
    run = place.run(SHORT)
    model = run.model.model_copy(update={"revision": "sha256:0"})
    await Supervision(run.model_copy(update={"model": model}), place.around).supervise()
    [report] = place.bus.reports
    assert report.failure is not None and report.failure.code == "model_not_found"
    assert f"they are {run.model.revision}, and the job was made for sha256:0" in report.failure.detail


async def test_a_restarted_trainer_gives_back_what_it_held_and_claims_the_next(place: Place) -> None:
    place.journal.hold(Held(job_uid="job_0_bbbb", fence=7))
    place.bus.runs.append(place.run(SHORT))
    working = asyncio.create_task(Runner(place.around, place.journal, ["cpu"]).run())
    await until(lambda: len(place.bus.reports) == 2 and not place.journal.held)
    working.cancel()
    lost, completed = place.bus.reports
    assert (lost.job_uid, lost.fence, lost.outcome) == ("job_0_bbbb", 7, Outcome.LOST)
    assert completed.outcome is Outcome.COMPLETED


async def test_a_lost_claim_is_asked_again_under_its_own_id(place: Place) -> None:
    answers = iter([Unavailable("Nobody answered."), None])
    claims: list[str] = []

    async def request(asked: rpc.Rpc[Any, Any], message: Any) -> Any:
        claims.append(message.claim_id)
        error = next(answers, None)
        if error is not None:
            raise error
        return Claimed()

    place.bus.request = request  # type: ignore[method-assign]
    working = asyncio.create_task(Runner(place.around, place.journal, ["cpu"]).run())
    await until(lambda: len(claims) >= 3)
    working.cancel()
    assert claims[0] == claims[1] != claims[2]


def test_two_trainers_do_not_share_a_work_folder(place: Place) -> None:
    with pytest.raises(RuntimeError, match="TUNEDECK_WORK_DIR"):
        Journal(place.settings.work_dir)
