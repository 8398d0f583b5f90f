"""Requests, events and live subscriptions, by nats-py on the broker's own connection."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar

import structlog
from faststream.nats import NatsBroker
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.js.errors import NotFoundError

from tunedeck_chassis.asked_twice import asked_twice
from tunedeck_chassis.link import Link
from tunedeck_contracts.cloudevents import BLOB, CORRELATION_ID, STATUS, TIME_LIMIT, Event
from tunedeck_contracts.errors import ErrorReply, Unavailable, from_reply
from tunedeck_contracts.message import Message
from tunedeck_contracts.rpc import Rpc
from tunedeck_contracts.streams import Stream

Req = TypeVar("Req", bound=Message)
Rep = TypeVar("Rep", bound=Message)

PUBLISH_TIMEOUT = 5.0
ABSENCE_SECONDS = 2.0
"""A service that nobody answered for as long is away: who asks for it is told at once, and waits no more."""
_ABSENCE_BELIEVED_SECONDS = 60.0
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


class Absences:
    """Since when nobody listens to a service's requests. Times are the event loop's.

    Nothing looks but requests themselves, so an absence that none has met for a while is believed no more.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, float]] = {}

    def met(self, service: str) -> float:
        """Nobody listened just now; how long it has been so."""
        now = asyncio.get_running_loop().time()
        first, last = self._seen.get(service, (now, now))
        if now - last > _ABSENCE_BELIEVED_SECONDS:
            first = now
        self._seen[service] = (first, now)
        return now - first

    def over(self, service: str) -> None:
        """The service has answered."""
        self._seen.pop(service, None)


class Bus:
    """What a service says to others. Usable once the broker is connected."""

    def __init__(self, broker: NatsBroker) -> None:
        self._broker = broker
        self._link: Link = broker.context.get("link")
        self._absences = Absences()

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
        """Send a client's bytes, return the reply's untouched.

        As `request`; but a client is not kept waiting for a service that has been
        away for ABSENCE_SECONDS already.

        Raises:
            Unavailable: nobody answered in time, or the service or NATS is away.
        """
        return await self._exchange(rpc, payload, timeout, ABSENCE_SECONDS)

    async def _exchange(
        self, rpc: Rpc[Req, Rep], payload: bytes, timeout: float | None, longest_absence: float
    ) -> RawReply:
        seconds = timeout if timeout is not None else rpc.timeout
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        headers = {"content-type": "application/json"}
        if (correlation := correlation_id()) is not None:
            headers[CORRELATION_ID] = correlation
        while deadline > loop.time():
            if not await self._link.back(deadline, repeatable=rpc.changes_nothing):
                raise Unavailable(f"NATS cannot be reached, and so neither can the {rpc.service} service.")
            ask = partial(self._ask, rpc.subject, payload, headers, deadline)
            try:
                async with self._link.waiting(deadline, repeatable=rpc.changes_nothing):
                    reply = await (asked_twice(ask) if rpc.is_quick else ask())
            except NoRespondersError:
                if self._absences.met(rpc.service) > longest_absence:
                    raise Unavailable(f"The {rpc.service} service is away.") from None
                await asyncio.sleep(min(_RETRY_WAIT, max(deadline - loop.time(), 0)))
            except TimeoutError as error:
                if self._link.is_lost:
                    raise Unavailable(f"NATS was lost before the {rpc.service} service answered.") from error
            except (NatsError, OSError) as error:
                raise Unavailable(f"The {rpc.service} service cannot be asked: {error!r}.") from error
            else:
                self._absences.over(rpc.service)
                answered = reply.headers or {}
                return RawReply(reply.data, int(answered.get(STATUS, "200")), answered.get(BLOB))
        raise Unavailable(f"The {rpc.service} service did not answer within {seconds:g} s.")

    async def _ask(self, subject: str, payload: bytes, headers: dict[str, str], deadline: float) -> Msg:
        left = deadline - asyncio.get_running_loop().time()
        return await self._broker.connection.request(
            subject, payload, timeout=left, headers={**headers, TIME_LIMIT: f"{left:.3f}"}
        )

    async def request(self, rpc: Rpc[Req, Rep], message: Req, *, timeout: float | None = None) -> Rep:
        """Ask another service.

        While nobody listens, the request is sent again until its deadline: a
        restart of the service shorter than that is not seen. Neither is one of
        NATS by what changes nothing, see `link.py`, nor the death of a service
        that had taken a quick read, see `asked_twice.py`.

        Raises:
            TunedeckError: as the other service raised it, or Unavailable.
        """
        reply = await self._exchange(rpc, message.to_json(), timeout, math.inf)
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

    async def tell(self, event: Event, unheard: str) -> None:
        """Tell an event to who listens on its subject now; nobody keeps it, and nothing is waited for.

        Where nobody listens, NATS says so on the subject `unheard`: one of `when_unheard`.

        Raises:
            Unavailable: NATS is away, and no more can be held back for it.
        """
        try:
            await self._broker.connection.publish(
                event.subject, event.data, reply=unheard, headers=event.headers(correlation_id())
            )
        except (NatsError, OSError) as error:
            raise Unavailable(f"NATS does not take an event: {type(error).__name__}.") from error

    async def when_unheard(self, callback: Callable[[], None]) -> tuple[str, Subscription]:
        """A subject for `tell`, and what ends it; `callback` is called for each event that nobody heard."""
        subject = self._broker.connection.new_inbox()

        async def on_status(_: Msg) -> None:
            callback()

        return subject, await self._broker.connection.subscribe(subject, cb=on_status)

    async def last(self, stream: Stream, subject: str) -> bytes | None:
        """The body of the newest message that a stream keeps of a subject, or None.

        Raises:
            Unavailable: NATS does not say.
        """
        try:
            found = await self._broker.connection.jetstream().get_last_msg(stream.name, subject)
        except NotFoundError:
            return None
        except (TimeoutError, NatsError, OSError) as error:
            raise Unavailable(f"NATS does not say what {stream.name} keeps: {error!r}.") from error
        return found.data

    async def made_at(self, stream: Stream) -> datetime:
        """When the stream was made, to the millisecond: a new one is another one, and empty.

        Raises:
            Unavailable: NATS does not say, or has no such stream.
        """
        try:
            made = (await self._broker.connection.jetstream().stream_info(stream.name)).created
        except (TimeoutError, NatsError, OSError) as error:
            raise Unavailable(f"NATS does not say when {stream.name} was made: {error!r}.") from error
        assert made is not None
        # As MongoDB keeps times.
        return made.replace(microsecond=made.microsecond // 1000 * 1000)

    async def subscribe(self, subject: str, callback: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """A core subscription: live only, nothing is kept for it."""
        return await self._broker.connection.subscribe(subject, cb=callback)
