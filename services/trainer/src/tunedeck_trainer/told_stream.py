"""One stream of an answer: its events, numbered, on their way to who listens."""

import asyncio
from typing import Any

import structlog
from nats.aio.subscription import Subscription

from tunedeck_chassis.bus import Bus
from tunedeck_contracts import cloudevents, subjects
from tunedeck_contracts.errors import TunedeckError, Unavailable
from tunedeck_contracts.generation import (
    GeneratedToken,
    GenerationEnd,
    GenerationEvent,
    GenerationEventType,
    QueuePosition,
)

log = structlog.get_logger()


class ToldStream:
    """Tells events on the core subject of `stream_id`; `unheard` is set once nobody listens there."""

    def __init__(self, bus: Bus, stream_id: str, job_uid: str, source: str) -> None:
        self.stream_id = stream_id
        self.unheard = asyncio.Event()
        self._bus = bus
        self._job_uid = job_uid
        self._source = source
        self._seq = 0
        self._signs = 0
        self._reply_to = ""
        self._watch: Subscription | None = None

    async def open(self) -> None:
        """Hear of it when nobody listens; before the first event."""
        self._reply_to, self._watch = await self._bus.when_unheard(self.unheard.set)

    async def close(self) -> None:
        """After the last event."""
        if self._watch is not None:
            await self._watch.unsubscribe()
            self._watch = None

    async def queued(self, position: QueuePosition) -> None:
        """It waits."""
        await self._next(GenerationEventType.QUEUED, queued=position)

    async def token(self, token: GeneratedToken) -> None:
        """One token."""
        await self._next(GenerationEventType.TOKEN, token=token)

    async def end(self, end: GenerationEnd) -> None:
        """The answer is over."""
        await self._next(GenerationEventType.END, end=end)

    async def error(self, error: TunedeckError) -> None:
        """There will be no answer, or no more of it."""
        await self._next(GenerationEventType.ERROR, error=error.reply())

    async def alive(self) -> None:
        """The trainer lives, and this is the number of the last event."""
        self._signs += 1
        event = GenerationEvent(stream_id=self.stream_id, seq=self._seq, type=GenerationEventType.ALIVE)
        await self._tell(event, f"{self.stream_id}:{self._seq}:alive:{self._signs}")

    async def _next(self, type_: GenerationEventType, **what: Any) -> None:
        self._seq += 1
        event = GenerationEvent(stream_id=self.stream_id, seq=self._seq, type=type_, **what)
        await self._tell(event, f"{self.stream_id}:{self._seq}")

    async def _tell(self, data: GenerationEvent, event_id: str) -> None:
        event = cloudevents.event(
            subject=subjects.generation_event(self.stream_id),
            id=event_id,
            type=data.type.cloudevent_type,
            source=self._source,
            about=self._job_uid,
            data=data,
        )
        try:
            await self._bus.tell(event, self._reply_to)
        except Unavailable as error:
            # Who listens finds the hole by the next number.
            log.warning("generation_not_told", stream=self.stream_id, error=error.detail)
