"""Answers requests by nats-py itself, on the broker's own connection.

FastStream takes each message through a dozen layers, which cost a read half of its rate
(docs/adr/0004); the consumers of streams, where that does not matter, stay with it.
"""

import asyncio
import math
import typing
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from faststream import Context
from faststream.nats import NatsBroker, NatsRouter
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from tunedeck_chassis.failures import as_tunedeck_error
from tunedeck_chassis.presence import Presence
from tunedeck_chassis.replies import Replies, Reply
from tunedeck_contracts.cloudevents import CORRELATION_ID, TIME_LIMIT
from tunedeck_contracts.errors import InternalError, Unavailable
from tunedeck_contracts.message import Message
from tunedeck_contracts.rpc import Rpc

log = structlog.get_logger()

REQUEST_WORKERS = 64

_ContextMark = type(Context())


@dataclass(frozen=True)
class RequestHandler:
    """A free function that answers one request; `context` is the key of each argument beside the message."""

    rpc: Rpc[Any, Any]
    function: Callable[..., Awaitable[Message]]
    context: dict[str, str]


class Router(NatsRouter):
    """The handlers of a service: of streams, which FastStream runs, and of requests."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[RequestHandler] = []

    def add_request(self, rpc: Rpc[Any, Any], function: Callable[..., Awaitable[Message]]) -> None:
        """Register a function; what it takes beside its `message` is `Annotated[T, Context("key")]`."""
        context = {
            name: mark.name or name
            for name, hint in typing.get_type_hints(function, include_extras=True).items()
            for mark in getattr(hint, "__metadata__", ())
            if isinstance(mark, _ContextMark)
        }
        self.requests.append(RequestHandler(rpc, function, context))


class RequestServer:
    """Answers every request of the routers that the broker includes, failed or not, never with silence."""

    def __init__(self, broker: NatsBroker, replies: Replies, database: Presence | None = None) -> None:
        self._broker = broker
        self._database = database or Presence()
        self._replies = replies
        self._subscriptions: list[Subscription] = []
        self._running: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Subscribe.

        Raises:
            LookupError: a handler takes something that the broker's context lacks.
        """
        for router in self._broker.routers:
            if isinstance(router, Router):
                for handler in router.requests:
                    await self._serve(handler)

    async def stop(self, seconds: float) -> None:
        """Take no more requests, and give those that were taken `seconds` to be answered."""
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*map(Subscription.drain, self._subscriptions), return_exceptions=True)
                await asyncio.gather(*self._running)
        except TimeoutError:
            log.warning("requests_unanswered", count=len(self._running))

    async def _serve(self, handler: RequestHandler) -> None:
        answer = partial(handler.function, **self._arguments(handler))
        free = asyncio.Semaphore(REQUEST_WORKERS)
        loop = asyncio.get_running_loop()

        async def in_turn(message: Msg, arrived: float) -> None:
            async with free:
                await self._answer(handler.rpc, answer, message, waited=loop.time() - arrived)

        async def take(message: Msg) -> None:
            task = asyncio.create_task(in_turn(message, loop.time()))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

        # The replicas of a service share its requests by the queue group.
        subscription = await self._broker.connection.subscribe(
            handler.rpc.subject, queue=handler.rpc.service, cb=take
        )
        self._subscriptions.append(subscription)

    def _arguments(self, handler: RequestHandler) -> dict[str, Any]:
        known = self._broker.context.context
        if missing := set(handler.context.values()) - known.keys():
            raise LookupError(f"{handler.rpc.subject} needs {sorted(missing)} in the broker's context.")
        return {name: known[key] for name, key in handler.context.items()}

    async def _answer(
        self, rpc: Rpc[Any, Any], answer: Callable[[Any], Awaitable[Message]], message: Msg, *, waited: float
    ) -> None:
        headers = message.headers or {}
        # Each request has a task, and so a context, of its own: nothing needs to be unbound.
        structlog.contextvars.bind_contextvars(
            correlation_id=headers.get(CORRELATION_ID) or str(uuid.uuid4())
        )
        left = time_limit(headers) - waited
        if left < 0:
            busy = Unavailable(
                f"The {rpc.service} service is busy: the request waited {waited:.1f} s. Try again."
            )
            reply = self._replies.failure(busy.reply())
        else:
            with self._database.patience(left, repeatable=rpc.changes_nothing):
                reply = await self._reply(rpc, answer, message.data)
        try:
            await self._broker.connection.publish(message.reply, reply.body, headers=reply.headers)
        except NatsError as error:
            log.warning("not_answered", subject=rpc.subject, error=repr(error))

    async def _reply(
        self,
        rpc: Rpc[Any, Any],
        answer: Callable[[Any], Awaitable[Message]],
        body: bytes,
    ) -> Reply:
        try:
            request = rpc.request.model_validate_json(body)
            return await self._replies.success(await answer(request), rpc.status)
        except Exception as error:
            told = as_tunedeck_error(error)
            if isinstance(told, InternalError):
                log.error("request_failed", subject=rpc.subject, exc_info=error)
            elif told.status_code >= 500:
                log.warning("request_refused", subject=rpc.subject, error=told.detail)
            return self._replies.failure(told.reply())


def time_limit(headers: dict[str, str]) -> float:
    """Seconds after its arrival at which the caller of a request has given up."""
    try:
        return float(headers.get(TIME_LIMIT, "inf"))
    except ValueError:
        return math.inf
