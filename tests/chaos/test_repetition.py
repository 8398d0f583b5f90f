"""Every event comes twice more, and some come after their successors: there is no second effect."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg, SequenceInfo
from nats.js.errors import NotFoundError

from tests.chaos import reading
from tests.chaos.client import PatientClient, ended
from tests.chaos.connecting import connected
from tests.chaos.trainings import training_verdicts
from tests.e2e.api import Api
from tests.support.servers import wait_for
from tunedeck_cli.stack import Stack
from tunedeck_contracts.cloudevents import MESSAGE_ID
from tunedeck_contracts.streams import CONSUMERS, DLQ, JOBS, TRAINING, Consumer

WINDOW = 50
HELD_SECONDS = 3
ENDED_SECONDS = 240
SENDERS = {JOBS.name: "jobs", TRAINING.name: "trainer"}

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


class Repeater:
    """Sends what the streams were told again, under ids of its own, each window in another order."""

    def __init__(self, stack: Stack, seed: int) -> None:
        self._stack = stack
        self._chance = random.Random(seed)
        self._places: dict[str, int] = {}
        self._done = asyncio.Event()
        self.count = 0

    def stop(self) -> None:
        """Repeat what is there by now, and end."""
        self._done.set()

    async def run(self) -> None:
        """Repeat until told to stop."""
        async with AsyncExitStack() as held:
            reader = (await held.enter_async_context(connected(self._stack, "gateway"))).connection
            senders = {
                stream: (await held.enter_async_context(connected(self._stack, service))).connection
                for stream, service in SENDERS.items()
            }
            for stream in SENDERS:
                self._places[stream] = (await reader.jetstream().stream_info(stream)).state.last_seq
            while not self._done.is_set():
                await self._repeat_new(reader, senders)
                await asyncio.sleep(0.5)
            await self._repeat_new(reader, senders)

    async def _repeat_new(self, reader: Client, senders: dict[str, Client]) -> None:
        for stream, sender in senders.items():
            last = (await reader.jetstream().stream_info(stream)).state.last_seq
            messages = await self._originals(reader, stream, last)
            for start in range(0, len(messages), WINDOW):
                await self._send(sender, messages[start : start + WINDOW])
            self._places[stream] = last

    async def _originals(self, reader: Client, stream: str, last: int) -> list[RawStreamMsg]:
        found = []
        for sequence in range(self._places[stream] + 1, last + 1):
            try:
                message = await reader.jetstream().get_msg(stream, sequence)
            except NotFoundError:
                continue
            if ":again" not in (message.headers or {}).get(MESSAGE_ID, ""):
                found.append(message)
        return found

    async def _send(self, sender: Client, window: Sequence[RawStreamMsg]) -> None:
        for again in (1, 2):
            for message in self._chance.sample(window, len(window)):
                headers = dict(message.headers or {})
                headers[MESSAGE_ID] = f"{headers[MESSAGE_ID]}:again{again}"
                await sender.jetstream().publish(message.subject or "", message.data or b"", headers=headers)
                self.count += 1


class Holder:
    """Takes some events before their service does, and gives each back when a later one was delivered."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._done = asyncio.Event()
        self.overtaken: Counter[str] = Counter()

    def stop(self) -> None:
        """Give back what is held, and end."""
        self._done.set()

    async def run(self) -> None:
        """Hold one event of each durable at a time, until told to stop."""
        async with connected(self._stack, "telemetry") as broker:
            stream = broker.connection.jetstream()
            await asyncio.gather(*(self._hold(stream, consumer) for consumer in CONSUMERS))

    async def _hold(self, stream: JetStreamContext, consumer: Consumer) -> None:
        subscription = await stream.pull_subscribe_bind(consumer.name, consumer.stream)
        while not self._done.is_set():
            try:
                [message] = await subscription.fetch(1, timeout=1)
            except (TimeoutError, NatsError):
                continue
            try:
                is_first = message.metadata.num_delivered == 1
                if is_first and await self._is_overtaken(stream, consumer, message):
                    self.overtaken[consumer.name] += 1
            finally:
                await message.nak()
            # Nothing is asked for meanwhile: the service is who gets it now.
            await asyncio.sleep(0.2)

    async def _is_overtaken(self, stream: JetStreamContext, consumer: Consumer, held: Msg) -> bool:
        delivered: SequenceInfo | None = None
        deadline = asyncio.get_running_loop().time() + HELD_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            with suppress(NatsError, TimeoutError):
                delivered = (await stream.consumer_info(consumer.stream, consumer.name)).delivered
            if delivered is not None and delivered.stream_seq > held.metadata.sequence.stream:
                return True
            await asyncio.sleep(0.05)
        return False


async def test_events_that_come_again_out_of_order_change_nothing(
    chaos_stack: Stack, client: PatientClient, dataset: str, undisturbed: list[float], seed: int
) -> None:
    parked = await _parked(chaos_stack)
    repeater = Repeater(chaos_stack, seed)
    holder = Holder(chaos_stack)
    disturbing = asyncio.gather(repeater.run(), holder.run())
    uid = await asyncio.to_thread(client.train, "repeated", dataset)
    api = Api(chaos_stack.api_url, chaos_stack.monitor_url)
    watching = asyncio.create_task(asyncio.to_thread(api.stream, uid, "", ENDED_SECONDS))
    job = await asyncio.to_thread(client.wait, uid, ended, ENDED_SECONDS)
    repeater.stop()
    holder.stop()
    await disturbing
    frames, _ = await watching
    api.close()
    assert repeater.count > 2 * len(undisturbed)
    assert all(holder.overtaken[consumer.name] > 0 for consumer in CONSUMERS), holder.overtaken
    await asyncio.to_thread(wait_for, "telemetry to take all", lambda: asyncio.run(_all_taken(chaos_stack)))
    events = await asyncio.to_thread(reading.told, chaos_stack, client, uid)
    told = {event.rev: event for event in events[uid]}
    said = training_verdicts(client, job, list(told.values()), undisturbed)
    assert said == []
    seen = [frame["iteration"] for frame in frames if not frame.get("is_completed")]
    assert seen == list(range(1, len(undisturbed) + 1))
    assert await _parked(chaos_stack) == parked


async def _parked(stack: Stack) -> int:
    async with connected(stack, "gateway") as broker:
        return (await broker.connection.jetstream().stream_info(DLQ.name)).state.messages


async def _all_taken(stack: Stack) -> bool:
    async with connected(stack, "gateway") as broker:
        found = [await broker.connection.jetstream().consumer_info(one.stream, one.name) for one in CONSUMERS]
    return not any(one.num_pending or one.num_ack_pending for one in found)
