"""What a person may ask of a job that is there: pause, resume, cancel, another priority, a deadline."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from tests.support.jobs_service import Service, claim, report
from tunedeck_contracts.errors import Conflict, Fenced, NotFound, ValidationFailed
from tunedeck_contracts.job_changes import ChangeJob, JobChanges
from tunedeck_contracts.jobs import Job, Phase, Status, Wanted
from tunedeck_contracts.message import utc_now
from tunedeck_contracts.runs import Outcome

SOON = timedelta(seconds=1)


async def test_a_paused_job_frees_its_trainer_and_goes_on_from_its_checkpoint(service: Service) -> None:
    uid, fence = await service.running()
    assert (await service.steering.pause(uid)).wanted is Wanted.PAUSE
    assert await service.beat(uid, fence, step=5, total_steps=10) is Wanted.PAUSE
    made = await service.checkpoint(uid, fence, 6)
    await service.queue.report(report(uid, fence, Outcome.PAUSED))
    paused = await service.jobs.get(uid)
    assert (paused.status, paused.training.phase, paused.training.ended_at) == (Status.PAUSED, None, None)
    assert (paused.training.current_step, paused.training.progress) == (6, 60.0)
    with pytest.raises(Fenced):
        await service.beat(uid, fence)
    assert (await service.queue.claim(claim())).run is None, "a paused job waits for its person"
    resumed = await service.steering.resume(uid)
    assert (resumed.status, resumed.wanted) == (Status.QUEUED, Wanted.RUN)
    run = (await service.queue.claim(claim("trainer_2"))).run
    assert run is not None and run.checkpoints == [made] and run.fence > fence
    job = await service.jobs.get(uid)
    assert (job.training.current_step, job.training.progress) == (6, 60.0)
    assert job.training.started_at == paused.training.started_at
    events = (await service.jobs.events(uid)).events
    assert [one.type.value for one in events] == [
        "created",
        "queued",
        "started",
        "pause_requested",
        "checkpointed",
        "paused",
        "resumed",
        "started",
    ]
    assert [one.rev for one in events] == list(range(1, 9))
    assert events == await service.events(uid), "what is stored is what was published"
    assert (events[-1].resume_step, events[-1].fence, events[-1].checkpoint_step) == (6, run.fence, 6)


async def test_a_pause_that_is_not_reached_yet_is_taken_back(service: Service) -> None:
    uid, fence = await service.running()
    await service.steering.pause(uid)
    assert (await service.steering.resume(uid)).wanted is Wanted.RUN
    assert await service.beat(uid, fence) is Wanted.RUN
    # The trainer may have stopped by then: its job waits for a trainer again, and no attempt is lost.
    await service.queue.report(report(uid, fence, Outcome.PAUSED))
    assert (await service.jobs.get(uid)).status is Status.QUEUED
    stored = await service.client[service.settings.jobs_database]["jobs"].find_one({"_id": uid})
    assert stored is not None and stored["lost"] == 0


async def test_a_pause_wanted_of_a_lost_trainer_is_reached_at_once(service: Service) -> None:
    uid, fence = await service.running()
    await service.steering.pause(uid)
    await service.queue.report(report(uid, fence, Outcome.LOST))
    assert (await service.jobs.get(uid)).status is Status.PAUSED


async def test_a_pause_and_a_resume_may_come_twice_and_a_cancel_wins(service: Service) -> None:
    uid, fence = await service.running()
    rev = (await service.steering.pause(uid)).rev
    assert (await service.steering.pause(uid)).rev == rev
    assert (await service.steering.cancel(uid)).wanted is Wanted.CANCEL
    for late in (service.steering.pause, service.steering.resume):
        with pytest.raises(Conflict, match="is being cancelled"):
            await late(uid)
    await service.queue.report(report(uid, fence, Outcome.PAUSED))
    assert (await service.jobs.get(uid)).status is Status.CANCELLED


async def test_a_paused_job_is_cancelled_at_once(service: Service) -> None:
    uid = await service.ended(Outcome.PAUSED)
    assert (await service.steering.cancel(uid)).status is Status.CANCELLED
    assert (await service.jobs.get(uid)).training.ended_at is not None


async def test_what_does_not_run_is_not_paused_and_what_is_not_paused_not_resumed(service: Service) -> None:
    queued = (await service.create()).job_uid
    with pytest.raises(Conflict, match="is queued; only a running job can be paused"):
        await service.steering.pause(queued)
    with pytest.raises(Conflict, match="is queued; only a paused job"):
        await service.steering.resume(queued)
    await service.steering.cancel(queued)
    with pytest.raises(Conflict, match="has ended as cancelled"):
        await service.steering.resume(queued)
    steps: list[Callable[[str], Awaitable[Job]]] = [service.steering.pause, service.steering.resume]
    for step in steps:
        with pytest.raises(NotFound):
            await step("job_0_none")


async def test_a_cancel_against_the_last_step_leaves_one_end(service: Service) -> None:
    for _ in range(20):
        uid, fence = await service.running()
        _, cancelled = await asyncio.gather(
            service.queue.report(report(uid, fence)), service.steering.cancel(uid), return_exceptions=True
        )
        job = await service.jobs.get(uid)
        if isinstance(cancelled, Conflict):
            assert job.status is Status.COMPLETED
        else:
            assert job.status is Status.CANCELLED, "whoever was told that it is cancelled finds it cancelled"
            assert job.artifacts == [] and job.result is None


async def test_a_higher_priority_goes_first_and_equals_go_by_age(service: Service) -> None:
    low, first, second = [(await service.create(priority=priority)).job_uid for priority in (-1, 0, 0)]
    late = (await service.create()).job_uid
    assert (await service.steering.change(late, JobChanges(priority=5))).priority == 5
    order = [late, first, second, low]
    assert [(await service.jobs.get(uid)).queue_position for uid in order] == [1, 2, 3, 4]
    taken = [(await service.queue.claim(claim())).run for _ in order]
    assert [run.job_uid for run in taken if run] == order


async def test_a_change_that_names_no_deadline_leaves_it(service: Service) -> None:
    deadline = utc_now() + timedelta(hours=1)
    uid = (await service.create(deadline=deadline.isoformat())).job_uid
    sent = ChangeJob(uid=uid, changes=JobChanges(priority=3)).to_json()
    changed = await service.steering.change(uid, ChangeJob.model_validate_json(sent).changes)
    assert (changed.priority, changed.deadline) == (3, deadline)
    sent = ChangeJob(uid=uid, changes=JobChanges(deadline=None)).to_json()
    changed = await service.steering.change(uid, ChangeJob.model_validate_json(sent).changes)
    assert (changed.priority, changed.deadline) == (3, None)
    assert [one.type.value for one in (await service.jobs.events(uid)).events][2:] == ["rescheduled"] * 2
    for nothing in ({}, {"priority": None}):
        with pytest.raises(ValueError, match="priority"):
            JobChanges.model_validate(nothing)


async def test_an_ended_job_is_not_rescheduled(service: Service) -> None:
    uid = await service.ended()
    with pytest.raises(Conflict, match="has ended as completed"):
        await service.steering.change(uid, JobChanges(priority=1))


async def test_a_deadline_that_is_over_is_refused(service: Service) -> None:
    past = utc_now() - SOON
    with pytest.raises(ValidationFailed, match="is over"):
        await service.create(deadline=past.isoformat())
    uid = (await service.create()).job_uid
    with pytest.raises(ValidationFailed, match="is over"):
        await service.steering.change(uid, JobChanges(deadline=past))


async def overdue(service: Service, uid: str) -> None:
    """Give the job a deadline, and wait until MongoDB's clock has passed it."""
    await service.steering.change(uid, JobChanges(deadline=utc_now() + SOON))
    async with asyncio.timeout(20):
        while uid not in {record.job.uid for record in await service.repository.overdue()}:
            await asyncio.sleep(0.05)


async def assert_failed_by_its_deadline(service: Service, uid: str) -> None:
    job = await service.jobs.get(uid)
    assert (job.status, job.training.phase) == (Status.FAILED, None)
    assert job.failure is not None and job.failure.code == "deadline_exceeded"
    assert "later deadline" in job.failure.hint


async def test_a_run_past_its_deadline_is_fenced_out_by_its_next_beat(service: Service) -> None:
    uid, fence = await service.running()
    await overdue(service, uid)
    with pytest.raises(Fenced):
        await service.beat(uid, fence)
    await assert_failed_by_its_deadline(service, uid)
    with pytest.raises(Fenced):
        await service.queue.report(report(uid, fence))


async def test_the_sweep_fails_what_waits_past_its_deadline_also_while_it_rests(service: Service) -> None:
    paused = await service.ended(Outcome.PAUSED)
    created = (await service.create(start=False)).job_uid
    running, _ = await service.running()
    queued = (await service.create()).job_uid
    waiting = [paused, created, running, queued]
    for uid in waiting:
        await overdue(service, uid)
    assert (await service.queue.claim(claim())).run is None, "no trainer begins what is over"
    with pytest.raises(Conflict, match="deadline is over"):
        await service.steering.resume(paused)
    with pytest.raises(Conflict, match=f"deadline of job {created!r} is over"):
        await service.steering.start(created)
    assert await service.sweep.sweep() == 0
    assert await service.sweep.end_overdue() == len(waiting)
    for uid in waiting:
        await assert_failed_by_its_deadline(service, uid)


async def test_a_job_that_is_being_cancelled_is_not_failed_by_its_deadline(service: Service) -> None:
    uid, fence = await service.running()
    await service.steering.change(uid, JobChanges(deadline=utc_now() + SOON))
    await service.steering.cancel(uid)
    await asyncio.sleep(SOON.total_seconds() * 1.2)
    assert await service.sweep.end_overdue() == 0
    await service.queue.report(report(uid, fence, Outcome.CANCELLED))
    assert (await service.jobs.get(uid)).status is Status.CANCELLED


async def test_a_beat_before_the_first_step_leaves_what_was_done(service: Service) -> None:
    uid, fence = await service.running()
    await service.beat(uid, fence, step=5, total_steps=10)
    await service.checkpoint(uid, fence, 4)
    await service.queue.report(report(uid, fence, Outcome.LOST))
    run = (await service.queue.claim(claim())).run
    assert run is not None
    await service.beat(uid, run.fence)
    training = (await service.jobs.get(uid)).training
    assert (training.current_step, training.progress, training.phase) == (4, 40.0, Phase.TRAINING)


async def test_a_run_hears_of_a_cancel_though_the_deadline_is_over_meanwhile(service: Service) -> None:
    uid, fence = await service.running()
    await service.steering.cancel(uid)
    await service.steering.change(uid, JobChanges(deadline=utc_now() + SOON))
    async with asyncio.timeout(10):
        while uid not in {record.job.uid for record in await service.repository.overdue()}:
            await asyncio.sleep(0.02)
    assert await service.beat(uid, fence) is Wanted.CANCEL
