"""Requests, events and live subscriptions, by nats-py on the broker's own connection."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog
from faststream.nats import NatsBroker
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError

from tunedeck_contracts.cloudevents import BLOB, CORRELATION_ID, DEADLINE, STATUS, Event
from tunedeck_contracts.errors import ErrorReply, Unavailable, from_reply
from tunedeck_contracts.message import Message
from tunedeck_contracts.rpc import Rpc

Req = TypeVar("Req", bound=Message)
Rep = TypeVar("Rep", bound=Message)

PUBLISH_TIMEOUT = 5.0
_RETRY_WAIT = 0.1


@dataclass(frozen=True)
class RawReply:
    """A reply as it came: bytes, HTTP status, and the blob that holds a body too large for the bus."""

    body: bytes
    status: int
    blob_id: str | None


def correlation_id() -> str | None:
    """The correlation id of the request that is being handled."""
    value = structlog.contextvars.get_contextvars().get("correlation_id")
    return value if isinstance(value, str) else None


class Bus:
    """What a service says to others. Usable once the broker is connected."""

    def __init__(self, broker: NatsBroker) -> None:
        self._broker = broker

    @property
    def is_connected(self) -> bool:
        """Whether NATS can be reached now."""
        try:
            return bool(self._broker.connection.is_connected)
        except Exception:
            return False

    @property
    def reconnects(self) -> int:
        """How often the connection to NATS was lost and found again."""
        return int(self._broker.connection.stats["reconnects"])

    async def forward(self, rpc: Rpc[Req, Rep], payload: bytes, timeout: float | None = None) -> RawReply:
        """Send a request's bytes, return the reply's untouched.

        While nobody listens, the request is sent again until its deadline: a
        restart of the service shorter than that is not seen.

        Raises:
            Unavailable: nobody answered in time.
        """
        seconds = timeout if timeout is not None else rpc.timeout
        deadline = time.time() + seconds
        headers = {DEADLINE: f"{deadline:.3f}", "content-type": "application/json"}
        if (correlation := correlation_id()) is not None:
            headers[CORRELATION_ID] = correlation
        while True:
            left = deadline - time.time()
            if left <= 0:
                raise Unavailable(f"The {rpc.service} service did not answer within {seconds:g} s.")
            try:
                reply = await self._broker.connection.request(
                    rpc.subject, payload, timeout=left, headers=headers
                )
            except NoRespondersError:
                await asyncio.sleep(min(_RETRY_WAIT, max(left, 0)))
                continue
            except (NatsTimeoutError, NatsError, OSError) as error:
                raise Unavailable(
                    f"The {rpc.service} service did not answer within {seconds:g} s."
                ) from error
            answered = reply.headers or {}
            return RawReply(reply.data, int(answered.get(STATUS, "200")), answered.get(BLOB))

    async def request(self, rpc: Rpc[Req, Rep], message: Req, *, timeout: float | None = None) -> Rep:
        """Ask another service.

        Raises:
            TunedeckError: as the other service raised it, or Unavailable.
        """
        reply = await self.forward(rpc, message.to_json(), timeout)
        if reply.status >= 400:
            raise from_reply(ErrorReply.model_validate_json(reply.body))
        return rpc.reply.model_validate_json(reply.body)

    async def publish(self, event: Event) -> None:
        """Publish an event and wait until its stream has it. Its id absorbs a repetition.

        Raises:
            Unavailable: no acknowledgement came; the event may be stored all the same.
        """
        try:
            await self._broker.connection.jetstream().publish(
                event.subject,
                event.data,
                timeout=PUBLISH_TIMEOUT,
                headers=event.headers(correlation_id()),
            )
        except (TimeoutError, NatsError, OSError) as error:
            raise Unavailable(f"NATS did not acknowledge an event: {type(error).__name__}.") from error

    async def subscribe(self, subject: str, callback: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """A core subscription: live only, nothing is kept for it."""
        return await self._broker.connection.subscribe(subject, cb=callback)
