"""What telemetry says of a job: its status, its totals, and what it says without data."""

import pytest

from tests.support.answering import answering
from tests.support.telemetry_service import (
    Telemetry,
    loss,
    new_job,
    sample,
    started_event,
)
from tunedeck_contracts import rpc
from tunedeck_contracts.errors import NotFound, Unavailable
from tunedeck_contracts.events import JobEventType
from tunedeck_contracts.jobs import Status, TrainingMode
from tunedeck_contracts.telemetry import GetHistory, GetTrainingStatus
from tunedeck_contracts.training_mode import GetTrainingMode, Mode
from tunedeck_telemetry.projection import ASKING_SECONDS


async def test_events_that_come_late_or_twice_change_nothing(telemetry: Telemetry) -> None:
    job = new_job()
    ended = started_event(job, rev=4).model_copy(update={"status": Status.COMPLETED, "last_iteration": 3})
    for told in (ended, started_event(job, rev=3), ended):
        await telemetry.ingest.job_event(told)
    await telemetry.ingest.recorded([loss(job, n) for n in range(1, 4)])
    status = await telemetry.summaries.status(job)
    assert (status.status, status.progress_percent, status.current_step) == (Status.COMPLETED, 100.0, 3)
    assert (await telemetry.curves.history(GetHistory(job_id=job))).last_iteration == 3


async def test_without_a_job_the_idle_trainers_samples_are_shown(telemetry: Telemetry) -> None:
    with pytest.raises(Unavailable, match="Training data not available"):
        await telemetry.curves.resources(None, 5)
    await telemetry.ingest.recorded([sample("trainer_1", n, fence=0) for n in range(1, 4)])
    samples = await telemetry.curves.resources(None, 2)
    assert [one.cpu_percent for one in samples] == [2.0, 3.0]
    with pytest.raises(Unavailable, match="Training data not available"):
        await telemetry.curves.losses(None, 5)


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
async def test_the_totals_are_the_newest_runs_in_whatever_order_a_batch_has_them(
    telemetry: Telemetry, order: tuple[int, int]
) -> None:
    job = new_job()
    await telemetry.ingest.job_event(started_event(job, fence=2))
    totals = {1: 99, 2: 8}
    told = [loss(job, 1, fence).model_copy(update={"total_steps": totals[fence]}) for fence in order]
    await telemetry.ingest.recorded(told)
    await telemetry.ingest.recorded([loss(job, 2, fence=1)])
    status = await telemetry.summaries.status(job)
    assert (status.total_steps, status.progress_percent) == (8, 12.5)


async def test_a_job_that_waits_has_a_status_and_no_data_yet(telemetry: Telemetry) -> None:
    job = new_job()
    waiting = started_event(job, rev=1, fence=0)
    await telemetry.ingest.job_event(
        waiting.model_copy(update={"status": Status.QUEUED, "type": JobEventType.QUEUED, "started_at": None})
    )
    status = await telemetry.summaries.status(job)
    assert (status.current_step, status.progress_percent, status.estimated_remaining) == (0, 0.0, "unknown")
    with pytest.raises(Unavailable, match="Training data not available"):
        await telemetry.summaries.summary(job)


async def test_an_unknown_job_is_asked_for_and_not_found(
    telemetry: Telemetry, nats_url: str, patient: None
) -> None:
    job = new_job()
    refusal = NotFound(f"There is no job {job!r}.").reply()
    async with answering(nats_url, rpc.JOB_GET, refusal):
        with pytest.raises(NotFound, match=f"There is no job '{job}'."):
            await telemetry.summaries.status(job)


async def test_the_mode_is_the_jobs_services_and_the_rest_the_focus_own(
    telemetry: Telemetry, nats_url: str, patient: None
) -> None:
    async def shown() -> tuple[str, bool, int]:
        found = await telemetry.bus.request(rpc.TRAINING_MODE_GET, GetTrainingMode(), timeout=40)
        return found.mode.value, found.is_completed, found.current_iteration

    async with answering(nats_url, rpc.MODE_GET, Mode(mode=TrainingMode.AUTOMATED)):
        assert await shown() == ("automated", False, 0)
        job = new_job()
        await telemetry.ingest.job_event(started_event(job))
        assert await shown() == ("automated", False, 0)
        await telemetry.ingest.recorded([loss(job, n) for n in range(1, 4)])
        assert await shown() == ("automated", False, 3)
        ended = started_event(job, rev=4).model_copy(update={"status": Status.COMPLETED})
        await telemetry.ingest.job_event(ended)
        assert await shown() == ("automated", True, 3)


async def test_who_asks_telemetry_is_told_that_it_is_the_jobs_service_that_is_away(
    telemetry: Telemetry,
) -> None:
    mode, status = rpc.TRAINING_MODE_GET, rpc.STATUS_GET
    assert min(mode.timeout, status.timeout) > ASKING_SECONDS, "who asks must wait for longer than telemetry"
    with pytest.raises(Unavailable, match="jobs service"):
        await telemetry.bus.request(mode, GetTrainingMode(), timeout=20)
    with pytest.raises(Unavailable, match="jobs service"):
        await telemetry.bus.request(status, GetTrainingStatus(job_id=new_job()), timeout=20)


async def test_a_run_that_ends_early_is_as_long_as_its_last_point_says_also_when_points_come_again(
    telemetry: Telemetry,
) -> None:
    job = new_job()
    await telemetry.ingest.job_event(started_event(job))
    made = [loss(job, n).model_copy(update={"total": 40, "total_steps": 40}) for n in (1, 2)]
    last = loss(job, 3).model_copy(update={"total": 3, "total_steps": 3})
    await telemetry.ingest.recorded([last, *made])
    await telemetry.ingest.recorded(made)
    status = await telemetry.summaries.status(job)
    assert (status.current_step, status.total_steps, status.progress_percent) == (3, 3, 100.0)
    assert (await telemetry.curves.history(GetHistory(job_id=job))).total == 3
