"""What a job goes on from: registration, retention, retries, and the files of all that."""

import asyncio
from dataclasses import replace

import pytest

from tests.support.jobs_service import FOUND, MODEL, NO_MODEL, Service, claim, report
from tunedeck_contracts.checkpoints import RegisterCheckpoint
from tunedeck_contracts.errors import Conflict, Fenced, NotFound
from tunedeck_contracts.job_changes import RetryJob, RetryOptions
from tunedeck_contracts.jobs import JobCreated, Status
from tunedeck_contracts.runs import Outcome
from tunedeck_jobs.resolving import Resolution

pytestmark = pytest.mark.usefixtures("telemetry_forgets")


def retry_of(uid: str, step: int | None = None, key: str | None = None) -> RetryJob:
    return RetryJob(uid=uid, options=RetryOptions(from_checkpoint=step), idempotency_key=key)


async def failed_with_checkpoints(service: Service, *steps: int) -> str:
    uid, fence = await service.running(name="first", priority=7, device="cpu")
    for step in steps:
        await service.checkpoint(uid, fence, step)
    await service.queue.report(report(uid, fence, Outcome.FAILED))
    return uid


async def test_a_checkpoint_registered_twice_is_there_once_and_its_file_is_kept(service: Service) -> None:
    uid, fence = await service.running()
    made = await service.stored_checkpoint(fence, 10)
    told = RegisterCheckpoint(job_uid=uid, fence=fence, checkpoint=made)
    await asyncio.gather(*(service.checkpoints.register(told) for _ in range(10)))
    await service.checkpoints.register(told)
    assert (await service.jobs.checkpoints(uid)).checkpoints == [made]
    assert await service.file_of(made) == "kept"
    types = [one.type.value for one in (await service.jobs.events(uid)).events]
    assert types.count("checkpointed") == 1


async def test_a_late_older_checkpoint_changes_nothing(service: Service) -> None:
    uid, fence = await service.running()
    newer = await service.checkpoint(uid, fence, 20)
    older = await service.checkpoint(uid, fence, 10)
    assert (await service.jobs.checkpoints(uid)).checkpoints == [newer]
    assert await service.file_of(older) == "expiring"


async def test_a_replaced_run_registers_nothing(service: Service) -> None:
    uid, fence = await service.running()
    known = await service.checkpoint(uid, fence, 10)
    late = await service.stored_checkpoint(fence, 20)
    await service.queue.report(report(uid, fence, Outcome.LOST))
    run = (await service.queue.claim(claim())).run
    assert run is not None
    disguised = late.model_copy(update={"fence": run.fence})
    for refused in (
        RegisterCheckpoint(job_uid=uid, fence=fence, checkpoint=late),
        RegisterCheckpoint(job_uid=uid, fence=fence, checkpoint=disguised),
        RegisterCheckpoint(job_uid=uid, fence=fence, checkpoint=known),
        RegisterCheckpoint(job_uid="job_0_none", fence=1, checkpoint=known),
    ):
        with pytest.raises(Fenced):
            await service.checkpoints.register(refused)
    assert (await service.jobs.checkpoints(uid)).checkpoints == [known]
    assert (await service.file_of(known), await service.file_of(late)) == ("kept", "expiring")


async def test_what_a_job_names_no_more_is_removed_and_the_best_and_newest_stay(service: Service) -> None:
    uid, fence = await service.running()
    made = [await service.checkpoint(uid, fence, step, loss) for step, loss in ((1, 1.0), (2, 2.0), (3, 3.0))]
    made.append(await service.checkpoint(uid, fence, 4, 4.0))
    listed = await service.jobs.checkpoints(uid)
    assert [one.step for one in listed.checkpoints] == [4, 3, 1]
    assert listed.best_step == 1
    assert await service.checkpoints.let_go() == 1
    assert [await service.file_of(one) for one in made] == ["kept", "gone", "kept", "kept"]
    await service.queue.report(report(uid, fence))
    assert (await service.jobs.checkpoints(uid)).checkpoints == [], "nobody tries a completed job again"
    assert await service.checkpoints.let_go() == 3
    assert await service.checkpoints.let_go() == 0
    assert {await service.file_of(one) for one in made} == {"gone"}


async def test_lost_attempts_are_counted_anew_from_each_newer_checkpoint(service: Service) -> None:
    uid = (await service.create()).job_uid
    steps = [None, 10, None, 20, None, 20]
    for step in steps:
        run = (await service.queue.claim(claim())).run
        assert run is not None, step
        if step is not None:
            await service.checkpoint(uid, run.fence, step)
        await service.queue.report(report(uid, run.fence, Outcome.LOST))
    job = await service.jobs.get(uid)
    assert job.attempt == len(steps)
    assert job.status is Status.FAILED, "the third loss since step 20, which was made again and is not newer"
    assert job.failure is not None and job.failure.code == "lost_worker"


async def test_a_run_that_falls_back_tells_from_where_it_goes_on(service: Service) -> None:
    uid, fence = await service.running()
    for step in (10, 20):
        await service.checkpoint(uid, fence, step)
    await service.queue.report(report(uid, fence, Outcome.LOST))
    run = (await service.queue.claim(claim())).run
    assert run is not None and [one.step for one in run.checkpoints] == [20, 10]
    for _ in range(2):
        await service.beat(uid, run.fence, resume_iteration=10)
    events = (await service.jobs.events(uid)).events
    assert [(one.type.value, one.resume_step) for one in events[-2:]] == [("started", 20), ("fell_back", 10)]
    with pytest.raises(Fenced):
        await service.beat(uid, fence, resume_iteration=0)


async def test_a_retry_goes_on_from_a_checkpoint_as_a_job_of_its_own(service: Service) -> None:
    first = await failed_with_checkpoints(service, 10, 20)
    created = await service.creation.retry(retry_of(first, 10))
    job = created.job
    assert (job.retry_of, job.status, job.name, job.priority, job.rev) == (
        first,
        Status.QUEUED,
        "first",
        7,
        2,
    )
    assert (job.failure, job.training.started_at, job.artifacts) == (None, None, [])
    run = (await service.queue.claim(claim())).run
    assert run is not None and run.job_uid == job.uid
    assert [(one.step, one.fence) for one in run.checkpoints] == [(10, 0)]
    started = (await service.jobs.events(job.uid)).events[-1]
    assert started.resume_step == 0, "a fence owns the points of another job that it tells again"
    await service.deletion.delete(first)
    assert await service.file_of(run.checkpoints[0]) == "kept", "this job needs it still"
    await service.queue.report(report(job.uid, run.fence))
    await service.checkpoints.let_go()
    assert await service.file_of(run.checkpoints[0]) == "gone"


async def test_a_deletion_takes_the_checkpoints_with_it(service: Service) -> None:
    uid, fence = await service.running()
    made = [await service.checkpoint(uid, fence, step) for step in (1, 2, 3)]
    await service.queue.report(report(uid, fence, Outcome.FAILED))
    await service.deletion.delete(uid)
    assert {await service.file_of(one) for one in made} == {"gone"}


async def test_a_retry_from_the_start_carries_nothing_over(service: Service) -> None:
    first = await failed_with_checkpoints(service, 10)
    job = (await service.creation.retry(retry_of(first))).job
    assert (job.retry_of, (await service.jobs.checkpoints(job.uid)).checkpoints) == (first, [])


async def test_only_a_failed_or_cancelled_job_is_tried_again(service: Service) -> None:
    for uid, state in (
        (await service.ended(Outcome.COMPLETED), "completed"),
        (await service.ended(Outcome.PAUSED), "paused"),
        ((await service.create(start=False)).job_uid, "created"),
    ):
        with pytest.raises(Conflict, match=f"is {state}; only a failed or cancelled"):
            await service.creation.retry(retry_of(uid))
    cancelled = await service.ended(Outcome.CANCELLED)
    assert (await service.creation.retry(retry_of(cancelled))).job.status is Status.QUEUED
    with pytest.raises(NotFound):
        await service.creation.retry(retry_of("job_0_none"))


async def test_a_checkpoint_that_is_not_there_is_refused_with_those_that_are(service: Service) -> None:
    first = await failed_with_checkpoints(service, 10, 20)
    with pytest.raises(NotFound, match="no checkpoint of step 15; it has: 20, 10"):
        await service.creation.retry(retry_of(first, 15))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (NO_MODEL, "There is no such model"),
        (replace(FOUND, model=MODEL.model_copy(update={"revision": "sha256:other"})), "has changed"),
    ],
)
async def test_no_retry_goes_on_with_another_model(service: Service, answer: Resolution, says: str) -> None:
    first = await failed_with_checkpoints(service, 10)
    service.resolver.answer = answer
    with pytest.raises(Conflict, match=says):
        await service.creation.retry(retry_of(first, 10))
    job = (await service.creation.retry(retry_of(first))).job
    assert job.status is (Status.CREATED if answer is NO_MODEL else Status.QUEUED)


async def test_fifty_retries_with_one_key_make_one_job(service: Service) -> None:
    first = await failed_with_checkpoints(service, 10)
    answers = await asyncio.gather(*(service.creation.retry(retry_of(first, 10, "k")) for _ in range(50)))
    assert len({answer.to_json() for answer in answers}) == 1
    assert isinstance(answers[0], JobCreated)
    with pytest.raises(Conflict, match="from another body"):
        await service.creation.retry(retry_of(first, None, "k"))
