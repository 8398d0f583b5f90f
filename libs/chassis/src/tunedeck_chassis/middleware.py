"""The one broker middleware.

A request (core NATS with a reply subject) is always answered, with the
message or with an `ErrorReply`. A message of a stream is acknowledged after
success, handed back with a delay after a transient error, and parked in the
dead-letter stream after a permanent one. FastStream acknowledges nothing
under `AckPolicy.MANUAL`, so that this is the only place that does.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from faststream import BaseMiddleware
from faststream.nats import NatsResponse
from faststream.nats.message import NatsMessage
from nats.aio.msg import Msg
from pydantic import ValidationError
from pymongo.errors import PyMongoError

from tunedeck_chassis.outages import outlasting_outages
from tunedeck_chassis.parking import Parking
from tunedeck_chassis.replies import Replies
from tunedeck_contracts.cloudevents import CORRELATION_ID, DEADLINE
from tunedeck_contracts.errors import (
    FieldProblem,
    InternalError,
    TunedeckError,
    Unavailable,
    ValidationFailed,
)
from tunedeck_contracts.message import Message
from tunedeck_contracts.rpc import status_of

log = structlog.get_logger()

LONGEST_NACK_DELAY = 60.0
LONGEST_BELIEVABLE_WAIT = 60.0


def is_stream_message(message: Msg) -> bool:
    """JetStream's reply subject is where the acknowledgement goes."""
    return message.reply.startswith("$JS.ACK.")


def as_tunedeck_error(error: Exception) -> TunedeckError:
    """What a caller is told: never a trace, never a driver's wording."""
    if isinstance(error, TunedeckError):
        return error
    if isinstance(error, ValidationError):
        return validation_failed(error)
    if isinstance(error, PyMongoError):
        return Unavailable("The database does not answer; the request can be sent again.")
    return InternalError("An internal error; the service's log has it under the correlation id.")


def validation_failed(error: ValidationError) -> ValidationFailed:
    """Every wrong field at once, each with its path."""
    problems = [
        FieldProblem(loc=_path(found["loc"]), message=found["msg"])
        for found in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    sentence = "; ".join(f"{problem.loc}: {problem.message}" for problem in problems[:3])
    more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
    return ValidationFailed(f"The request is not valid: {sentence}{more}.", problems)


def _path(loc: tuple[int | str, ...]) -> str:
    # FastStream validates a call: the first part is the name of the handler's argument.
    inner = loc[1:] if loc and loc[0] == "message" else loc
    return ".".join(map(str, inner)) or "body"


def is_past_deadline(headers: dict[str, str]) -> bool:
    """Whether the caller has given up. A deadline long past is another machine's clock, not a long wait."""
    try:
        late = time.time() - float(headers.get(DEADLINE, "inf"))
    except ValueError:
        return False
    return 0 < late < LONGEST_BELIEVABLE_WAIT


class ServiceMiddleware(BaseMiddleware[Any, Any]):
    """See the module. Built for each message by `create_broker`."""

    def __init__(self, msg: Any, /, *, context: Any, replies: Replies, parking: Parking) -> None:
        super().__init__(msg, context=context)
        self._replies = replies
        self._parking = parking

    async def consume_scope(self, call_next: Callable[[Any], Awaitable[Any]], msg: Any) -> Any:
        """Bind the correlation id, then answer or acknowledge."""
        correlation_id = (msg.headers or {}).get(CORRELATION_ID) or msg.correlation_id
        with structlog.contextvars.bound_contextvars(correlation_id=correlation_id):
            if is_stream_message(msg.raw_message):
                return await self._stream_message(call_next, msg)
            if msg.reply_to:
                return await self._request(call_next, msg)
            return await call_next(msg)

    async def _request(self, call_next: Callable[[Any], Awaitable[Any]], msg: NatsMessage) -> NatsResponse:
        if is_past_deadline(msg.headers or {}):
            return self._replies.failure(Unavailable("The request waited past its deadline.").reply())
        try:
            reply: Message = await call_next(msg)
            return await self._replies.success(reply, status_of(msg.raw_message.subject))
        except Exception as error:
            told = as_tunedeck_error(error)
            if isinstance(told, InternalError):
                log.error("request_failed", subject=msg.raw_message.subject, exc_info=error)
            elif told.status_code >= 500:
                log.warning("request_refused", subject=msg.raw_message.subject, error=told.detail)
            return self._replies.failure(told.reply())

    async def _stream_message(self, call_next: Callable[[Any], Awaitable[Any]], msg: NatsMessage) -> None:
        raw: Msg = msg.raw_message
        deliveries = raw.metadata.num_delivered
        try:
            await outlasting_outages(lambda: call_next(msg), [raw])
        except (ValidationError, TunedeckError) as error:
            await self._parking.park(raw, reason=str(error))
        except Exception as error:
            if self._parking.is_last(deliveries):
                await self._parking.park(raw, reason=repr(error))
                return
            delay = min(LONGEST_NACK_DELAY, 2.0**deliveries)
            log.warning("stream_message_failed", subject=raw.subject, retry_in=delay, exc_info=error)
            await msg.nack(delay=delay)
        else:
            await msg.ack()
