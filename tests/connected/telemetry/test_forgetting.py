"""What is left of a deleted job: nothing, whatever comes late."""

import pytest

from tests.support.answering import answering
from tests.support.telemetry_service import (
    NONE_STORED,
    Telemetry,
    log_line,
    loss,
    new_job,
    sample,
    started_event,
)
from tunedeck_contracts import rpc
from tunedeck_contracts.errors import NotFound
from tunedeck_contracts.events import JobEvent, JobEventType
from tunedeck_contracts.jobs import Status
from tunedeck_contracts.telemetry import ForgetJob, GetHistory, GetStored


async def trained(telemetry: Telemetry) -> str:
    """A job with 12 points of each kind."""
    job = new_job()
    await telemetry.ingest.job_event(started_event(job))
    await telemetry.ingest.recorded([loss(job, n) for n in range(1, 13)])
    await telemetry.ingest.recorded([sample(job, n) for n in range(1, 13)])
    await telemetry.ingest.recorded([log_line(job, n) for n in range(1, 13)])
    return job


def deleted_event(job: str) -> JobEvent:
    ended = {"type": JobEventType.DELETED, "status": Status.COMPLETED}
    return started_event(job, rev=5).model_copy(update=ended)


async def values(telemetry: Telemetry, job: str) -> int:
    """How many points, samples and lines of the job are stored."""
    return sum([len(one["p"]) async for one in telemetry.repository._points.find({"job": job})])


async def test_a_job_is_forgotten_whole_and_others_are_not(
    telemetry: Telemetry, nats_url: str, patient: None
) -> None:
    job, other = await trained(telemetry), await trained(telemetry)
    assert (await telemetry.bus.request(rpc.JOB_FORGET, ForgetJob(job_id=job))).points == 36
    assert (await telemetry.bus.request(rpc.JOB_FORGET, ForgetJob(job_id=job))).points == 0
    assert (await values(telemetry, job), await values(telemetry, other)) == (0, 36)
    assert await telemetry.repository.known(job) is None
    last = await telemetry.repository.started_last()
    assert last is not None and last.uid == other
    async with answering(nats_url, rpc.JOB_GET, NotFound("There is no such job.").reply()):
        for ask in (
            telemetry.summaries.status(job),
            telemetry.summaries.summary(job),
            telemetry.curves.losses(job, 5),
            telemetry.curves.resources(job, 5),
            telemetry.curves.logs(job, 5),
            telemetry.curves.history(GetHistory(job_id=job)),
        ):
            with pytest.raises(NotFound):
                await ask


async def test_what_comes_after_the_deletion_is_not_kept(telemetry: Telemetry) -> None:
    job, other = await trained(telemetry), await trained(telemetry)
    await telemetry.ingest.job_event(deleted_event(job))
    assert await values(telemetry, job) == 0
    await telemetry.ingest.recorded([loss(job, 13), loss(other, 13), log_line(job, 13)])
    assert (await values(telemetry, job), await values(telemetry, other)) == (0, 37)
    for late in (started_event(job, rev=3), started_event(job, rev=99), deleted_event(job)):
        await telemetry.ingest.job_event(late)
        assert await telemetry.repository.known(job) is None
    assert await telemetry.repository._totals.find_one({"_id": job}) is None


async def test_a_trainer_may_free_what_it_still_has_of_a_deleted_job(telemetry: Telemetry) -> None:
    job = await trained(telemetry)
    asked = GetStored(job_id=job, fence=1, after=NONE_STORED)
    assert (await telemetry.curves.stored(asked)).losses == 12
    await telemetry.ingest.forget(job)
    assert (await telemetry.curves.stored(asked)).losses > 10**9
