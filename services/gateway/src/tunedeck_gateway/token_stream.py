"""An answer of a model as Server-Sent Events: what its trainer tells on a core subject, in order and whole.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Response
from fastapi.sse import EventSourceResponse, format_sse_event
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from tunedeck_chassis.bus import Bus
from tunedeck_contracts import rpc
from tunedeck_contracts.errors import InternalError, TunedeckError, Unavailable
from tunedeck_contracts.generation import (
    SILENCE_SECONDS,
    GenerateText,
    GenerationEvent,
    GenerationEventType,
    StartGeneration,
)
from tunedeck_contracts.ids import new_stream_id
from tunedeck_contracts.subjects import generation_event
from tunedeck_gateway.bridge import Gateway, respond

QUEUE_LENGTH = 10_000
"""Events that wait for a slow client. More than an answer has: one that is lost shows by its number."""

_UNBUFFERED = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""The second is nginx's."""

_LAST = (GenerationEventType.END, GenerationEventType.ERROR)


async def stream_answer(gateway: Gateway, job_uid: str, asked: GenerateText) -> Response:
    """The stream, or the error of a request that no trainer has taken."""
    heard = await Heard.on(gateway.bus, new_stream_id())
    try:
        start = StartGeneration(job_uid=job_uid, stream_id=heard.stream_id, asked=asked)
        reply = await gateway.bus.forward(rpc.TEXT_GENERATE, start.to_json())
    except BaseException:
        await heard.no_more()
        raise
    if reply.status >= 400:
        await heard.no_more()
        return respond(gateway, reply)
    return TokenStream(heard)


class Heard:
    """What is told of one answer, from before it was asked for."""

    def __init__(self, stream_id: str) -> None:
        self.stream_id = stream_id
        self._messages: asyncio.Queue[Msg] = asyncio.Queue(QUEUE_LENGTH)
        self._subscription: Subscription | None = None
        self._seq = 0

    @classmethod
    async def on(cls, bus: Bus, stream_id: str) -> "Heard":
        """Listen from now on."""
        heard = cls(stream_id)
        heard._subscription = await bus.subscribe(generation_event(stream_id), heard._put)
        return heard

    async def no_more(self) -> None:
        """Listen no more: NATS tells the trainer, which stops."""
        with contextlib.suppress(Exception):
            if self._subscription is not None:
                await self._subscription.unsubscribe()

    async def next(self) -> GenerationEvent:
        """The next event.

        Raises:
            TunedeckError: nothing was heard for too long, or an event is lost.
        """
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                message = await self._messages.get()
        except TimeoutError:
            raise Unavailable(
                f"Nothing was heard of the trainer for {SILENCE_SECONDS:g} s: it may have died, or NATS "
                "cannot be reached. Ask again."
            ) from None
        try:
            event = GenerationEvent.model_validate_json(message.data)
        except ValidationError as error:
            raise InternalError(
                "The trainer told something that this gateway does not understand."
            ) from error
        self._seq += event.type is not GenerationEventType.ALIVE
        if event.seq != self._seq:
            raise Unavailable("A part of the answer was lost on its way from the trainer. Ask again.")
        return event

    async def _put(self, message: Msg) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self._messages.put_nowait(message)


class TokenStream(EventSourceResponse):
    """Sends events as they come. A client that goes away ends the answer."""

    def __init__(self, heard: Heard) -> None:
        super().__init__(_frames(heard), headers=_UNBUFFERED)
        self._heard = heard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send, and listen no more in any case: a body that was never begun would not do it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._heard.no_more()


async def _frames(heard: Heard) -> AsyncIterator[bytes]:
    # At once, so that the client has the headers while its request waits.
    yield format_sse_event(comment="asked")
    while True:
        try:
            event = await heard.next()
        except TunedeckError as error:
            yield format_sse_event(event="error", data_str=error.reply().to_json().decode())
            return
        if event.type is GenerationEventType.ALIVE:
            yield format_sse_event(comment="alive")
            continue
        told: Any = event.queued or event.token or event.end or event.error
        yield format_sse_event(event=event.type.value, data_str=told.to_json().decode())
        if event.type in _LAST:
            return
