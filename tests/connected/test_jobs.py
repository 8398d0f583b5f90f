"""The job protocol against a real MongoDB and a real NATS: claim, beat, fence, lease, sweep, outbox."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import nats
import pytest

from tunedeck_chassis import mongo
from tunedeck_chassis.broker import create_broker
from tunedeck_chassis.bus import Bus
from tunedeck_chassis.mongo import Client
from tunedeck_chassis.provisioning import provision
from tunedeck_contracts import subjects
from tunedeck_contracts.datasets import ResolvedDataset
from tunedeck_contracts.errors import Conflict, Fenced, NotFound, ValidationFailed
from tunedeck_contracts.events import JobEvent
from tunedeck_contracts.jobs import CreateJob, Failure, ListJobs, Phase, Status, Wanted
from tunedeck_contracts.models import ResolvedModel
from tunedeck_contracts.runs import Beat, Claim, Outcome, Report
from tunedeck_jobs.jobs import Jobs
from tunedeck_jobs.queue import Queue
from tunedeck_jobs.record import Pinned
from tunedeck_jobs.relay import Relay
from tunedeck_jobs.repository import JobRepository
from tunedeck_jobs.settings import JobsSettings
from tunedeck_jobs.sweep import Sweep

PINNED = Pinned(
    ResolvedModel(uid="local/tiny", name="Tiny", revision="sha256:0", source="folder"),
    ResolvedDataset(uid="dataset_1", name="Rows", rows=10, rows_blob="blob", rows_sha256="0"),
)
FAILURE = Failure(code="user_code", detail="It broke.", hint="Mend it.")


class FixedResolver:
    """Stands for the catalog: the resolution itself is tested with the catalog."""

    def __init__(self, pinned: Pinned | None) -> None:
        self._pinned = pinned

    async def resolve(self, model: str, dataset: str) -> tuple[Pinned | None, list[str]]:
        return (self._pinned, []) if self._pinned else (None, ["model: There is no such model."])


@dataclass
class Service:
    jobs: Jobs
    queue: Queue
    relay: Relay
    repository: JobRepository
    settings: JobsSettings
    bus: Bus
    client: Client

    def resolving(self, pinned: Pinned | None) -> Jobs:
        return Jobs(self.repository, FixedResolver(pinned), self.relay)  # type: ignore[arg-type]

    async def events(self, uid: str) -> list[JobEvent]:
        """Publish the outbox, then read the job's events back from the stream."""
        await self.relay.publish_pending()
        connection = await nats.connect(self.settings.nats_url)
        jetstream = connection.jetstream()
        subscription = await jetstream.subscribe(subjects.job_event(uid), ordered_consumer=True)
        found = []
        try:
            while True:
                message = await subscription.next_msg(timeout=0.3)
                found.append(JobEvent.model_validate_json(message.data))
        except nats.errors.TimeoutError:
            return found
        finally:
            await connection.close()


@pytest.fixture
async def service(nats_url: str, mongo_url: str) -> AsyncIterator[Service]:
    await provision(nats_url)
    settings = JobsSettings(
        nats_url=nats_url,
        mongo_url=mongo_url,
        jobs_database=f"jobs_{uuid.uuid4().hex[:12]}",
        lease_seconds=0.4,
        lease_sweep_seconds=0.05,
    )
    client = mongo.connect(settings)
    broker = create_broker(settings, "jobs")
    await broker.connect()
    bus = Bus(broker)
    repository = JobRepository(client, settings.jobs_database)
    await repository.prepare()
    relay = Relay(repository, bus)
    jobs = Jobs(repository, FixedResolver(PINNED), relay)  # type: ignore[arg-type]
    yield Service(jobs, Queue(repository, relay, settings), relay, repository, settings, bus, client)
    broker.context.get("closed_guard").stopping = True
    await broker.stop()
    await client.drop_database(settings.jobs_database)
    await client.close()


def request(**more: object) -> CreateJob:
    return CreateJob.model_validate(
        {
            "name": "$name with a dollar",
            "configuration": {"model": {"uid": "local/tiny"}, "dataset": {"uid": "dataset_1"}},
            **more,
        }
    )


def claim(worker: str = "trainer_1") -> Claim:
    return Claim(worker=worker, claim_id=uuid.uuid4().hex, devices=["cpu"])


def report(uid: str, fence: int, outcome: Outcome = Outcome.COMPLETED) -> Report:
    failure = FAILURE if outcome is Outcome.FAILED else None
    return Report(job_uid=uid, fence=fence, outcome=outcome, last_iteration=3, failure=failure)


async def running(service: Service) -> tuple[str, int]:
    created = await service.jobs.create(request())
    run = (await service.queue.claim(claim())).run
    assert run is not None and run.job_uid == created.job_uid
    return run.job_uid, run.fence


async def test_a_job_runs_from_created_to_completed_and_each_change_is_an_event(service: Service) -> None:
    uid, fence = await running(service)
    beat = Beat(
        job_uid=uid, fence=fence, phase=Phase.TRAINING, step=1, total_steps=4, epoch=1, total_epochs=2
    )
    assert (await service.queue.beat(beat)).wanted is Wanted.RUN
    assert (await service.jobs.get(uid)).training.progress == 25.0
    await service.queue.report(report(uid, fence))
    job = await service.jobs.get(uid)
    assert (job.status, job.training.progress, job.name) == (Status.COMPLETED, 100.0, "$name with a dollar")
    events = await service.events(uid)
    assert [(one.rev, one.type.value) for one in events] == [
        (1, "created"),
        (2, "queued"),
        (3, "started"),
        (4, "completed"),
    ]
    assert events[-1].last_iteration == 3


async def test_what_does_not_resolve_stays_created_and_says_what_is_missing(service: Service) -> None:
    created = await service.resolving(None).create(request())
    assert created.job.status is Status.CREATED
    assert created.job.problems == ["model: There is no such model."]
    assert (await service.queue.claim(claim())).run is None


async def test_the_same_claim_gets_the_same_run_and_another_gets_none(service: Service) -> None:
    await service.jobs.create(request())
    mine = claim()
    first = await service.queue.claim(mine)
    assert first.run is not None
    assert (await service.queue.claim(mine)).run == first.run
    assert (await service.queue.claim(claim("trainer_2"))).run is None


async def test_one_claim_sent_many_times_at_once_takes_one_job(service: Service) -> None:
    for _ in range(5):
        await service.jobs.create(request())
    mine = claim()
    claims = await asyncio.gather(*(service.queue.claim(mine) for _ in range(10)))
    assert len({one.run.job_uid for one in claims if one.run is not None}) == 1
    assert len(await service.repository.newest([Status.RUNNING], 10)) == 1


async def test_twenty_trainers_claim_ten_jobs_once_each(service: Service) -> None:
    created = {(await service.jobs.create(request())).job_uid for _ in range(10)}
    claims = await asyncio.gather(*(service.queue.claim(claim(f"trainer_{n}")) for n in range(20)))
    claimed = [one.run.job_uid for one in claims if one.run is not None]
    assert sorted(claimed) == sorted(created)


async def expire(service: Service, uid: str) -> None:
    """Wait until the sweep's own question finds the lease run out."""
    async with asyncio.timeout(5):
        while uid not in {record.job.uid for record, _ in await service.repository.expired()}:
            await asyncio.sleep(0.05)


async def in_contact() -> int | None:
    return 0


async def awake_sweep(service: Service) -> Sweep:
    """A sweep that has rested its lease already."""
    sweep = Sweep(service.repository, service.queue, service.relay, service.settings, in_contact)
    await sweep.sweep()
    await asyncio.sleep(service.settings.lease_seconds)
    return sweep


async def assert_fenced_out(service: Service, uid: str, fence: int) -> None:
    """Nothing that a replaced run sends is taken."""
    for late in (
        service.queue.beat(Beat(job_uid=uid, fence=fence, phase=Phase.TRAINING)),
        service.queue.report(report(uid, fence)),
    ):
        with pytest.raises(Fenced):
            await late


async def test_a_lost_lease_queues_the_job_again_and_fences_the_old_run_out(service: Service) -> None:
    uid, fence = await running(service)
    sweep = await awake_sweep(service)
    await expire(service, uid)
    assert await sweep.sweep() == 1
    await assert_fenced_out(service, uid, fence)
    again = (await service.queue.claim(claim("trainer_2"))).run
    assert again is not None and again.fence > fence and again.attempt == 2
    await assert_fenced_out(service, uid, fence)
    assert (await service.jobs.get(uid)).status is Status.RUNNING


async def test_the_sweep_rests_for_one_lease_after_contact_returns(service: Service) -> None:
    uid, _ = await running(service)
    await expire(service, uid)
    contact: list[int | None] = [None]

    async def now() -> int | None:
        return contact[0]

    sweep = Sweep(service.repository, service.queue, service.relay, service.settings, now)
    assert await sweep.sweep() == 0
    contact[0] = 1
    assert await sweep.sweep() == 0
    assert await sweep.sweep() == 0
    await asyncio.sleep(service.settings.lease_seconds)
    contact[0] = 2
    assert await sweep.sweep() == 0, "a reconnect between two looks starts the rest again"
    await asyncio.sleep(service.settings.lease_seconds)
    assert await sweep.sweep() == 1


async def test_a_worker_lost_on_every_attempt_fails_the_job_with_a_reason(service: Service) -> None:
    created = await service.jobs.create(request())
    for _ in range(service.settings.max_attempts):
        run = (await service.queue.claim(claim())).run
        assert run is not None
        await service.queue.report(report(run.job_uid, run.fence, Outcome.LOST))
    job = await service.jobs.get(created.job_uid)
    assert job.status is Status.FAILED
    assert job.failure is not None and job.failure.code == "lost_worker"


async def test_a_report_sent_twice_is_stored_once(service: Service) -> None:
    uid, fence = await running(service)
    await service.queue.report(report(uid, fence))
    await service.queue.report(report(uid, fence))
    assert (await service.jobs.get(uid)).rev == 4


async def test_cancel_ends_a_waiting_job_at_once_and_tells_a_running_one(service: Service) -> None:
    waiting = await service.jobs.create(request())
    assert (await service.jobs.cancel(waiting.job_uid)).status is Status.CANCELLED
    uid, fence = await running(service)
    assert (await service.jobs.cancel(uid)).wanted is Wanted.CANCEL
    beat = Beat(job_uid=uid, fence=fence, phase=Phase.TRAINING)
    assert (await service.queue.beat(beat)).wanted is Wanted.CANCEL
    await service.queue.report(report(uid, fence, Outcome.CANCELLED))
    assert (await service.jobs.get(uid)).status is Status.CANCELLED
    with pytest.raises(Conflict, match="ended as cancelled"):
        await service.jobs.cancel(uid)


async def test_a_cancelled_job_never_becomes_completed(service: Service) -> None:
    uid, fence = await running(service)
    await service.jobs.cancel(uid)
    await service.queue.report(report(uid, fence, Outcome.COMPLETED))
    assert (await service.jobs.get(uid)).status is Status.CANCELLED


async def test_a_failed_job_says_why(service: Service) -> None:
    uid, fence = await running(service)
    await service.queue.report(report(uid, fence, Outcome.FAILED))
    job = await service.jobs.get(uid)
    assert (job.status, job.failure) == (Status.FAILED, FAILURE)


async def test_the_outbox_is_published_once_though_two_relays_run(service: Service) -> None:
    uid, _ = await running(service)
    other = Relay(service.repository, service.bus)
    await asyncio.gather(service.relay.publish_pending(), other.publish_pending())
    events = await service.events(uid)
    assert [one.rev for one in events] == [1, 2, 3]
    assert await service.repository.unpublished() == []


@pytest.mark.parametrize("uid", [">", "*", "a.b", "", "job_1 ", "x" * 65])
async def test_an_id_that_could_be_a_wildcard_is_not_found(service: Service, uid: str) -> None:
    with pytest.raises(NotFound):
        await service.jobs.get(uid)


async def test_every_wrong_hyperparameter_is_named_at_once(service: Service) -> None:
    wrong = {
        "model": {"uid": "local/tiny"},
        "dataset": {"uid": "dataset_1"},
        "hyperparameters": {"learning_rate": -1, "epochs": 0, "unknown": 1},
    }
    with pytest.raises(ValidationFailed) as caught:
        await service.jobs.create(request(configuration=wrong))
    assert {one.loc for one in caught.value.errors or []} == {
        "configuration.hyperparameters.learning_rate",
        "configuration.hyperparameters.epochs",
    }


async def test_the_list_counts_all_and_filters(service: Service) -> None:
    await running(service)
    done, fence = (await service.jobs.create(request())).job_uid, 1
    run = (await service.queue.claim(claim())).run
    assert run is not None and run.job_uid == done
    await service.queue.report(report(done, fence))
    every = await service.jobs.list_jobs(ListJobs())
    assert (every.total, every.current_count, every.past_count, len(every.jobs)) == (2, 1, 1, 2)
    past = await service.jobs.list_jobs(ListJobs(statuses=[Status.COMPLETED]))
    assert [job.uid for job in past.jobs] == [done]
