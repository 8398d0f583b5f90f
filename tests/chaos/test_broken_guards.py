"""Each guard is taken away once: the verdict that watches over it turns red, and is green with it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from faststream.nats import JStream, NatsBroker, PullSub

from tests.chaos.test_verdicts import LIFE, events
from tests.chaos.verdicts import Attempt, broken_chain, stale_writes, wrong_points
from tests.support.jobs_service import Service, claim, jobs_service, report
from tests.support.servers import NatsServer, provision
from tests.support.telemetry_service import Telemetry, loss, new_job, started_event, telemetry_service
from tunedeck_chassis.broker import create_broker, event_handler
from tunedeck_chassis.requests import Router
from tunedeck_chassis.service import started
from tunedeck_chassis.settings import ServiceSettings
from tunedeck_contracts import subjects
from tunedeck_contracts.errors import Fenced
from tunedeck_contracts.events import JobEvent
from tunedeck_contracts.jobs import Phase
from tunedeck_contracts.runs import Beat, Outcome
from tunedeck_contracts.streams import TELEMETRY_JOBS
from tunedeck_telemetry.repository import Kind

pytestmark = pytest.mark.connected

POINTS = 120


class FenceBlind:
    """A collection whose comparisons have lost the fence."""

    def __init__(self, collection: Any) -> None:
        self._collection = collection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collection, name)

    async def find_one_and_update(self, query: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        return await self._collection.find_one_and_update(_without_fence(query), *arguments, **options)


def _without_fence(query: Any) -> Any:
    if isinstance(query, list):
        return [_without_fence(one) for one in query]
    if isinstance(query, dict):
        return {key: _without_fence(value) for key, value in query.items() if key != "fence"}
    return query


async def attempts_of_a_replaced_run(service: Service) -> list[Attempt]:
    """What a run that was taken from its trainer tries, while another trainer has the job."""
    uid, fence = await service.running()
    await service.queue.report(report(uid, fence, Outcome.LOST))
    again = (await service.queue.claim(claim("trainer_2"))).run
    assert again is not None and again.job_uid == uid
    tried: dict[str, Callable[[], Awaitable[object]]] = {
        "beat": lambda: service.queue.beat(Beat(job_uid=uid, fence=fence, phase=Phase.TRAINING)),
        "report": lambda: service.queue.report(report(uid, fence, Outcome.COMPLETED)),
    }
    attempts = []
    for what, attempt in tried.items():
        try:
            await attempt()
            is_accepted = True
        except Fenced:
            is_accepted = False
        attempts.append(Attempt(uid, what, fence, again.fence, is_accepted))
    return attempts


@pytest.mark.parametrize("is_blind", [False, True])
async def test_without_the_fence_stale_writes_are_accepted(
    nats_url: str, mongo_url: str, is_blind: bool
) -> None:
    async with jobs_service(nats_url, mongo_url) as service:
        if is_blind:
            service.repository._jobs = FenceBlind(service.repository._jobs)  # type: ignore[assignment]
        said = stale_writes(await attempts_of_a_replaced_run(service))
    assert len(said) == (2 if is_blind else 0), said


async def storm(telemetry: Telemetry) -> list[str]:
    """The same points from many sides at once."""
    job = new_job()
    await telemetry.ingest.job_event(started_event(job))

    async def store() -> None:
        for number in range(1, POINTS + 1, 10):
            await telemetry.ingest.recorded([loss(job, n) for n in range(number, number + 10)])

    # Who meets another at the same key is refused, and has its messages again.
    await asyncio.gather(*(store() for _ in range(8)), return_exceptions=True)
    await store()
    # Not by the readers, who take each number once: by what is stored.
    buckets = telemetry.repository._points.find({"kind": Kind.LOSS.value, "job": job})
    return wrong_points(job, [int(number) async for bucket in buckets for number in bucket["p"]], POINTS)


@pytest.mark.parametrize("is_unique", [True, False])
async def test_without_the_unique_key_points_are_stored_twice(
    nats_url: str, mongo_url: str, is_unique: bool
) -> None:
    async with telemetry_service(nats_url, mongo_url) as telemetry:
        if is_unique:
            assert await storm(telemetry) == []
            return
        await telemetry.repository._points.drop_indexes()
        async with asyncio.timeout(100):
            while not await storm(telemetry):
                pass


@pytest.fixture
def own_nats(tmp_path: Path) -> Iterator[str]:
    """A server of its own: nothing waits at the durable."""
    server = NatsServer(tmp_path)
    server.start()
    yield server.url
    server.stop()


class Listener:
    """Takes the events of a job; the third one breaks it, once."""

    def __init__(self) -> None:
        self.heard: list[JobEvent] = []
        self.has_broken = False

    async def __call__(self, body: bytes) -> None:
        event = JobEvent.model_validate_json(body)
        if event.rev == 3 and not self.has_broken:
            self.has_broken = True
            raise RuntimeError("The database was away for a second.")
        self.heard.append(event)

    async def until_heard(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.heard) < count:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def listening(nats_url: str, listener: Listener, *, by_default: bool) -> AsyncIterator[None]:
    """A consumer of the jobs' events: ours, or FastStream's with its default policy."""
    if by_default:
        broker = NatsBroker(nats_url, logger=None)
        broker.subscriber(
            TELEMETRY_JOBS.filter_subject,
            durable=TELEMETRY_JOBS.name,
            stream=JStream(TELEMETRY_JOBS.stream, declare=False),
            pull_sub=PullSub(batch_size=1, timeout=1.0),
            decoder=_undecoded,
        )(listener.__call__)
        async with broker:
            await broker.start()
            yield
        return
    router = Router()
    event_handler(router, TELEMETRY_JOBS)(listener.__call__)
    ours = create_broker(ServiceSettings(nats_url=nats_url), "telemetry")
    ours.include_router(router)
    async with started(ours):
        yield


async def _undecoded(message: Any) -> Any:
    return message.body


@pytest.mark.parametrize("by_default", [False, True])
async def test_with_the_default_ack_policy_an_event_is_lost(own_nats: str, by_default: bool) -> None:
    await provision(own_nats)
    listener, told = Listener(), events(*LIFE)
    async with listening(own_nats, listener, by_default=by_default):
        publisher = NatsBroker(own_nats, logger=None)
        async with publisher:
            for event in told:
                subject = subjects.job_event(event.uid)
                await publisher.publish(event.to_json(), subject, stream=TELEMETRY_JOBS.stream, timeout=10)
        await listener.until_heard(len(told) - 1 if by_default else len(told))
    assert len(broken_chain(listener.heard)) == (2 if by_default else 0)
