"""Trainers and the jobs service on real servers: claim, beat, fence, lease, sweep, report."""

import asyncio
import time

import pytest

from tests.support.jobs_service import FAILURE, Service, body, claim, report
from tunedeck_contracts.errors import Fenced
from tunedeck_contracts.failures import FailureCode, failure
from tunedeck_contracts.jobs import Phase, Status
from tunedeck_contracts.runs import Beat, Outcome
from tunedeck_jobs.sweep import Sweep


async def test_the_same_claim_gets_the_same_run_and_another_gets_none(service: Service) -> None:
    await service.create()
    mine = claim()
    first = await service.queue.claim(mine)
    assert first.run is not None
    assert (await service.queue.claim(mine)).run == first.run
    assert (await service.queue.claim(claim("trainer_2"))).run is None


async def test_one_claim_sent_many_times_at_once_takes_one_job(service: Service) -> None:
    for _ in range(5):
        await service.create()
    mine = claim()
    claims = await asyncio.gather(*(service.queue.claim(mine) for _ in range(10)))
    assert len({one.run.job_uid for one in claims if one.run is not None}) == 1
    assert (await service.lists.counts())[Status.RUNNING] == 1


async def test_twenty_trainers_claim_ten_jobs_once_each(service: Service) -> None:
    created = {(await service.create()).job_uid for _ in range(10)}
    claims = await asyncio.gather(*(service.queue.claim(claim(f"trainer_{n}")) for n in range(20)))
    claimed = [one.run.job_uid for one in claims if one.run is not None]
    assert sorted(claimed) == sorted(created)


async def expire(service: Service, uid: str) -> None:
    """Wait until the sweep's own question finds the lease run out."""
    async with asyncio.timeout(20):
        while uid not in {record.job.uid for record in await service.repository.expired()}:
            await asyncio.sleep(0.05)


async def in_contact() -> int | None:
    return 0


async def taken_back(sweep: Sweep) -> int:
    """How many jobs the sweep takes back once it takes any; until then it looks as often as it is to."""
    async with asyncio.timeout(20):
        while (taken := await sweep.sweep()) == 0:
            await asyncio.sleep(0.02)
    return taken


async def looks_on(sweep: Sweep, until: float) -> None:
    """The sweep looks until a time of the monotonic clock, and takes nothing."""
    while time.monotonic() < until:
        assert await sweep.sweep() == 0
        await asyncio.sleep(0.02)


async def assert_fenced_out(service: Service, uid: str, fence: int) -> None:
    """Nothing that a replaced run sends is taken."""
    for late in (
        service.queue.beat(Beat(job_uid=uid, fence=fence, phase=Phase.TRAINING)),
        service.queue.report(report(uid, fence)),
    ):
        with pytest.raises(Fenced):
            await late


async def test_a_lost_lease_queues_the_job_again_and_fences_the_old_run_out(service: Service) -> None:
    uid, fence = await service.running()
    sweep = Sweep(service.repository, service.queue, service.relay, service.settings, in_contact)
    await expire(service, uid)
    assert await taken_back(sweep) == 1
    await assert_fenced_out(service, uid, fence)
    lost = (await service.jobs.events(uid)).events[-1]
    assert (lost.type.value, lost.fence) == ("requeued", fence + 1), "dead before another begins"
    again = (await service.queue.claim(claim("trainer_2"))).run
    assert again is not None and again.fence > fence and again.attempt == 2
    await assert_fenced_out(service, uid, fence)
    assert (await service.jobs.get(uid)).status is Status.RUNNING


async def test_the_sweep_rests_for_one_lease_after_contact_returns(service: Service) -> None:
    service.settings.lease_seconds = 2
    uid, _ = await service.running()
    await expire(service, uid)
    contact: list[int | None] = [None]

    async def now() -> int | None:
        return contact[0]

    sweep = Sweep(service.repository, service.queue, service.relay, service.settings, now)
    assert await sweep.sweep() == 0
    for number in (1, 2):
        # A reconnect between two looks starts the rest again.
        contact[0] = number
        began = time.monotonic()
        await looks_on(sweep, began + 0.5 * service.settings.lease_seconds)
    assert await taken_back(sweep) == 1
    assert time.monotonic() - began >= service.settings.lease_seconds


async def test_a_sweep_that_stood_still_past_a_lease_rests_before_it_takes_a_job(service: Service) -> None:
    service.settings.lease_seconds = 3
    uid, fence = await service.running()
    sweep = Sweep(service.repository, service.queue, service.relay, service.settings, in_contact)
    began = time.monotonic()
    while time.monotonic() < began + 1.5 * service.settings.lease_seconds:
        assert await sweep.sweep() == 0
        await service.queue.beat(Beat(job_uid=uid, fence=fence, phase=Phase.TRAINING))
        await asyncio.sleep(0.02)
    await expire(service, uid)
    assert await sweep.sweep() == 0, "as after a laptop has slept: the trainer could not say that it lives"
    await service.queue.beat(Beat(job_uid=uid, fence=fence, phase=Phase.TRAINING))


async def test_a_worker_lost_on_every_attempt_fails_the_job_with_a_reason(service: Service) -> None:
    created = await service.create()
    for _ in range(service.settings.max_attempts):
        run = (await service.queue.claim(claim())).run
        assert run is not None
        await service.queue.report(report(run.job_uid, run.fence, Outcome.LOST))
    job = await service.jobs.get(created.job_uid)
    assert job.status is Status.FAILED
    assert job.failure is not None and job.failure.code == "lost_worker"


async def test_what_may_pass_fails_a_job_by_its_own_name_after_the_last_attempt(service: Service) -> None:
    created = await service.create()
    away = failure(FailureCode.HUB_UNAVAILABLE, "The Hub did not give the model.")
    for attempt in range(1, service.settings.max_attempts + 1):
        run = (await service.queue.claim(claim())).run
        assert run is not None and run.attempt == attempt
        told = report(run.job_uid, run.fence, Outcome.LOST).model_copy(update={"failure": away})
        await service.queue.report(told)
    job = await service.jobs.get(created.job_uid)
    assert (job.status, job.failure) == (Status.FAILED, away)


async def test_a_job_that_was_lost_again_rests_before_its_next_attempt(service: Service) -> None:
    service.settings.lost_rest_seconds = 1.5
    await service.create()
    for _ in range(2):
        run = (await service.queue.claim(claim())).run
        assert run is not None, "a single loss costs no rest"
        lost_at = time.monotonic()
        await service.queue.report(report(run.job_uid, run.fence, Outcome.LOST))
    run = None
    while run is None:
        assert time.monotonic() < lost_at + 30
        run = (await service.queue.claim(claim())).run
        await asyncio.sleep(0.05)
    assert time.monotonic() - lost_at >= 1.5


async def test_a_report_sent_twice_is_stored_once(service: Service) -> None:
    uid, fence = await service.running()
    await service.queue.report(report(uid, fence))
    await service.queue.report(report(uid, fence))
    assert (await service.jobs.get(uid)).rev == 4


async def test_a_cancelled_job_never_becomes_completed(service: Service) -> None:
    uid, fence = await service.running()
    await service.steering.cancel(uid)
    await service.queue.report(report(uid, fence, Outcome.COMPLETED))
    assert (await service.jobs.get(uid)).status is Status.CANCELLED


async def test_a_failed_job_says_why(service: Service) -> None:
    uid, fence = await service.running()
    await service.queue.report(report(uid, fence, Outcome.FAILED))
    job = await service.jobs.get(uid)
    assert (job.status, job.failure) == (Status.FAILED, FAILURE)


async def test_a_completed_job_did_all_its_steps_also_when_it_ended_early(service: Service) -> None:
    hyperparameters = {"max_steps": 100, "early_stopping_patience": 1}
    configuration = {**body()["configuration"], "hyperparameters": hyperparameters}
    uid, fence = await service.running(configuration=configuration)
    await service.queue.beat(Beat(job_uid=uid, fence=fence, phase=Phase.TRAINING, step=2, total_steps=100))
    await service.queue.report(report(uid, fence))
    training = (await service.jobs.get(uid)).training
    assert (training.progress, training.current_step, training.total_steps) == (100.0, 3, 3)
