"""The facts of FastStream and nats-py that the chassis is built around; each is a trap if it is forgotten."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager

import nats
import pytest
from nats.js.api import ConsumerConfig
from pymongo.errors import ServerSelectionTimeoutError

from tests.support.parked_letters import letters_of, parked_letters
from tests.support.probe_service import Ask, Say, serving
from tests.support.servers import NatsServer, provision
from tunedeck_chassis import batches, outages
from tunedeck_chassis.batches import BatchConsumer
from tunedeck_chassis.broker import create_broker, event_handler
from tunedeck_chassis.bus import Bus
from tunedeck_chassis.misprovisioned import Misprovisioned
from tunedeck_chassis.parking import DEADLY_DELIVERIES
from tunedeck_chassis.provisioning import assert_provisioned, consumer_config
from tunedeck_chassis.requests import Router
from tunedeck_chassis.service import started
from tunedeck_chassis.settings import ServiceSettings
from tunedeck_contracts import subjects
from tunedeck_contracts.cloudevents import event
from tunedeck_contracts.streams import MAX_DELIVERIES, TELEMETRY_JOBS, TELEMETRY_TRAINING, Consumer


@pytest.fixture(scope="module")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own: on the session's, what other tests have told waits at the durables."""
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    server.start()
    yield server.url
    server.stop()


@asynccontextmanager
async def consuming(nats_url: str, handle: Callable[[Sequence[str]], Awaitable[None]]) -> AsyncIterator[Bus]:
    """A consumer of the points on the real server."""
    await provision(nats_url)
    broker = create_broker(ServiceSettings(nats_url=nats_url), "probe")

    def decode(subject: str, data: bytes) -> str:
        return Ask.model_validate_json(data).text

    async with started(broker):
        consumer = BatchConsumer(broker, TELEMETRY_TRAINING, decode, handle)
        task = asyncio.create_task(consumer.run())
        try:
            yield Bus(broker)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _publish(bus: Bus, subject: str, data: bytes) -> None:
    message = event(
        subject=subject, id=uuid.uuid4().hex, type="probe", source="/probe", about="probe", data=Say(text="")
    )
    await bus.publish(type(message)(**{**message.__dict__, "data": data}))


async def test_a_transient_error_brings_the_message_again(nats_url: str) -> None:
    router, handled, uid = Router(), asyncio.Event(), uuid.uuid4().hex
    seen: list[bytes] = []

    @event_handler(router, TELEMETRY_JOBS)
    async def flaky(body: bytes) -> None:
        if uid.encode() not in body:
            return
        seen.append(body)
        if len(seen) == 1:
            raise ConnectionError("the database is away")
        handled.set()

    async with serving(nats_url, router) as bus:
        await _publish(bus, subjects.job_event(uid), Ask(text=uid).to_json())
        await asyncio.wait_for(handled.wait(), 10)
    assert len(seen) == 2


async def test_a_malformed_message_is_parked_and_the_next_is_handled(nats_url: str) -> None:
    router, handled, uid = Router(), asyncio.Event(), uuid.uuid4().hex

    @event_handler(router, TELEMETRY_JOBS)
    async def decode(body: bytes) -> None:
        if Ask.model_validate_json(body).text == uid:
            handled.set()

    async with serving(nats_url, router) as bus:
        await _publish(bus, subjects.job_event(uid), b"not json " + uid.encode())
        await _publish(bus, subjects.job_event(uid), Ask(text=uid).to_json())
        await asyncio.wait_for(handled.wait(), 10)
    letters = await parked_letters(nats_url, subjects.job_event(uid))
    assert [one.deliveries for one in letters] == [1]


async def test_one_bad_point_among_99_good_ones_is_parked_alone(nats_url: str) -> None:
    handled, uid = asyncio.Event(), uuid.uuid4().hex
    good: set[str] = set()

    async def keep(texts: Sequence[str]) -> None:
        good.update(texts)
        if len([text for text in good if text.startswith(uid)]) == 99:
            handled.set()

    subject = subjects.training_event(subjects.TrainingKind.LOSS, uid)
    async with consuming(nats_url, keep) as bus:
        bodies = [Ask(text=f"{uid}-{n}").to_json() for n in range(99)]
        bodies.insert(42, b"{broken")
        await asyncio.gather(*(_publish(bus, subject, body) for body in bodies))
        await asyncio.wait_for(handled.wait(), 10)
    assert len(await parked_letters(nats_url, subject)) == 1


async def test_a_lone_message_of_a_batch_is_handled_long_before_a_fetch_is_over(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "FETCH_SECONDS", 120.0)
    handled, uid = asyncio.Event(), uuid.uuid4().hex

    async def keep(texts: Sequence[str]) -> None:
        if uid in texts:
            handled.set()

    async with consuming(nats_url, keep) as bus:
        await _publish(bus, subjects.training_event(subjects.TrainingKind.LOSS, uid), Ask(text=uid).to_json())
        await asyncio.wait_for(handled.wait(), 20)


async def test_a_batch_that_fails_comes_again(nats_url: str) -> None:
    handled, uid = asyncio.Event(), uuid.uuid4().hex
    failed: list[str] = []

    async def flaky(texts: Sequence[str]) -> None:
        if uid in texts and not failed:
            failed.append(uid)
            raise ConnectionError("the database is away")
        if uid in texts:
            handled.set()

    async with consuming(nats_url, flaky) as bus:
        await _publish(bus, subjects.training_event(subjects.TrainingKind.LOSS, uid), Ask(text=uid).to_json())
        await asyncio.wait_for(handled.wait(), 10)


async def test_an_outage_of_the_database_uses_up_no_delivery(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outages, "TRY_AGAIN_SECONDS", 0.01)
    router, handled, uid = Router(), asyncio.Event(), uuid.uuid4().hex
    attempts = {"single": 0, "batch": 0}

    def away(kind: str) -> None:
        attempts[kind] += 1
        if attempts[kind] <= 2 * MAX_DELIVERIES:
            raise ServerSelectionTimeoutError("no server")
        if min(attempts.values()) > 2 * MAX_DELIVERIES:
            handled.set()

    @event_handler(router, TELEMETRY_JOBS)
    async def single(body: bytes) -> None:
        if uid.encode() in body:
            away("single")

    async def batch(texts: Sequence[str]) -> None:
        if uid in texts:
            away("batch")

    async with serving(nats_url, router) as bus, consuming(nats_url, batch):
        await _publish(bus, subjects.job_event(uid), Ask(text=uid).to_json())
        await _publish(bus, subjects.training_event(subjects.TrainingKind.LOSS, uid), Ask(text=uid).to_json())
        await asyncio.wait_for(handled.wait(), 10)
    for subject in (subjects.job_event(uid), subjects.training_event(subjects.TrainingKind.LOSS, uid)):
        assert await letters_of(nats_url, subject) == []


@pytest.mark.parametrize("durable", [TELEMETRY_JOBS, TELEMETRY_TRAINING], ids=lambda one: one.name)
async def test_a_message_that_ends_its_service_each_time_is_parked_unhandled(
    nats_url: str, durable: Consumer
) -> None:
    await provision(nats_url)
    uid = uuid.uuid4().hex
    subject = durable.filter_subject.replace("*", uid, 1).replace("*", uid).replace(">", uid)
    client = await nats.connect(nats_url)
    await client.jetstream().publish(subject, Ask(text=uid).to_json())
    subscription = await client.jetstream().pull_subscribe_bind(durable.name, durable.stream)
    for _ in range(DEADLY_DELIVERIES):
        [message] = await subscription.fetch(1, timeout=5)
        assert message.subject == subject
        await message.nak()
    await client.close()
    handled: list[str] = []
    router = Router()

    @event_handler(router, TELEMETRY_JOBS)
    async def single(body: bytes) -> None:
        handled.append(body.decode())

    async def batch(texts: Sequence[str]) -> None:
        handled.extend(texts)

    async with serving(nats_url, router), consuming(nats_url, batch):
        await parked_letters(nats_url, subject)
    assert [text for text in handled if uid in text] == []


async def test_a_stream_of_points_is_handled_at_once_and_whole(nats_url: str) -> None:
    """A message that is fetched and not handled would come again only after `ack_wait`."""
    handled, uid, count = asyncio.Event(), uuid.uuid4().hex, 300
    seen: set[str] = set()

    async def keep(texts: Sequence[str]) -> None:
        seen.update(text for text in texts if text.startswith(uid))
        if len(seen) == count:
            handled.set()

    subject = subjects.training_event(subjects.TrainingKind.LOSS, uid)
    async with consuming(nats_url, keep) as bus:
        for n in range(count):
            await _publish(bus, subject, Ask(text=f"{uid}-{n}").to_json())
            await asyncio.sleep(0.005)
        await asyncio.wait_for(handled.wait(), TELEMETRY_TRAINING.ack_wait.total_seconds() / 6)


async def test_a_durable_with_another_configuration_is_refused(nats_url: str) -> None:
    await provision(nats_url)
    client = await nats.connect(nats_url)
    jetstream = client.jetstream()
    wanted = consumer_config(TELEMETRY_JOBS)
    changed = ConsumerConfig(**{**wanted.__dict__, "max_ack_pending": 7})
    await jetstream.add_consumer("JOBS", changed)
    try:
        with pytest.raises(Misprovisioned, match="max_ack_pending=7"):
            await assert_provisioned(client)
    finally:
        await provision(nats_url)
        await assert_provisioned(client)
        await client.close()
