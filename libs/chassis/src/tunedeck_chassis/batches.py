"""Takes the messages of a durable in batches, by nats-py's own fetch.

FastStream's batch subscriber collects for a fixed time and leaves what it
holds unacknowledged when its last fetch fails: at 65 points a second it lost
one batch in fourteen until `ack_wait` brought it again, 30 s later. nats-py's
fetch returns what is there as soon as anything is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import structlog
from faststream.nats import NatsBroker
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from tunedeck_chassis.middleware import LONGEST_NACK_DELAY, NEVER_HANDLED
from tunedeck_chassis.outages import outlasting_outages
from tunedeck_chassis.parking import Parking
from tunedeck_contracts.errors import TunedeckError
from tunedeck_contracts.streams import Consumer

log = structlog.get_logger()

Decoded = TypeVar("Decoded")
BATCH_SIZE = 256
FETCH_SECONDS = 5.0
RETRY_SECONDS = 0.5


class BatchConsumer(Generic[Decoded]):
    """Decodes each message of a batch by itself, parks what is malformed, hands on the rest as one.

    Args:
        decode: from a subject and a body; raises ValueError for a malformed message.
        handle: takes the decoded messages; what it raises is transient, and brings them again.
    """

    def __init__(
        self,
        broker: NatsBroker,
        consumer: Consumer,
        decode: Callable[[str, bytes], Decoded],
        handle: Callable[[Sequence[Decoded]], Awaitable[None]],
    ) -> None:
        self._broker = broker
        self._consumer = consumer
        self._decode = decode
        self._handle = handle
        self._parking: Parking = broker.context.get("parking")

    async def run(self) -> None:
        """Take batches until cancelled; an outage is waited out."""
        subscription = await self._broker.connection.jetstream().pull_subscribe_bind(
            self._consumer.name, self._consumer.stream
        )
        while not _is_cancelled():
            try:
                batch = await subscription.fetch(BATCH_SIZE, timeout=FETCH_SECONDS)
            except TimeoutError:
                # nats-py raises its own kind, and where its second request is late, the plain one.
                continue
            except NatsError as error:
                if self._broker.connection.is_closed:
                    # On a closed connection nats-py tells a cancellation as this error too.
                    raise
                log.warning("fetch_failed", consumer=self._consumer.name, error=repr(error))
                await asyncio.sleep(RETRY_SECONDS)
                continue
            await self._take(batch)

    async def _take(self, batch: Sequence[Msg]) -> None:
        try:
            good = [decoded for message in batch if (decoded := await self._decoded(message)) is not None]
            await outlasting_outages(lambda: self._handle(good), batch)
        except Exception as error:
            log.warning("batch_failed", size=len(batch), exc_info=error)
            reason = repr(error)
            await self._settle(batch, lambda message: self._hand_back(message, reason))
        else:
            await self._settle(batch, lambda message: message.ack())

    async def _hand_back(self, message: Msg, reason: str) -> None:
        deliveries = message.metadata.num_delivered
        if self._parking.is_last(deliveries):
            await self._parking.park(message, reason=reason)
        else:
            await message.nak(delay=min(LONGEST_NACK_DELAY, 2.0**deliveries))

    async def _decoded(self, message: Msg) -> Decoded | None:
        if self._parking.is_deadly(deliveries := message.metadata.num_delivered):
            await self._parking.park(message, reason=NEVER_HANDLED.format(deliveries))
            return None
        try:
            return self._decode(message.subject, message.data)
        except (ValueError, TunedeckError) as error:
            await self._parking.park(message, reason=str(error))
            return None

    async def _settle(self, batch: Sequence[Msg], settle: Callable[[Msg], Awaitable[None]]) -> None:
        for message in batch:
            if not message._ackd:
                try:
                    await settle(message)
                except NatsError as error:
                    # It comes again after ack_wait, and storing it again changes nothing.
                    log.warning("not_settled", subject=message.subject, error=repr(error))


def _is_cancelled() -> bool:
    # asyncio.wait_for, by which nats-py fetches, can lose a cancellation that meets a message (gh-86296).
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
