"""The one broker middleware.

A message of a stream is acknowledged after success, handed back with a delay after a transient error,
and parked in the dead-letter stream after a permanent one. FastStream acknowledges nothing under
`AckPolicy.MANUAL`, so that this is the only place that does. Requests do not come through here: see
`requests.py`.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from faststream import BaseMiddleware
from faststream.nats.message import NatsMessage
from nats.aio.msg import Msg
from pydantic import ValidationError

from tunedeck_chassis.outages import outlasting_outages
from tunedeck_chassis.parking import Parking
from tunedeck_contracts.cloudevents import CORRELATION_ID
from tunedeck_contracts.errors import TunedeckError

log = structlog.get_logger()

LONGEST_NACK_DELAY = 60.0
NEVER_HANDLED = "It was delivered {} times and never handled to an end: its handler may end the process."


class ServiceMiddleware(BaseMiddleware[Any, Any]):
    """See the module. Built for each message by `create_broker`."""

    def __init__(self, msg: Any, /, *, context: Any, parking: Parking) -> None:
        super().__init__(msg, context=context)
        self._parking = parking

    async def consume_scope(self, call_next: Callable[[Any], Awaitable[Any]], msg: Any) -> None:
        """Bind the correlation id, then acknowledge."""
        correlation_id = (msg.headers or {}).get(CORRELATION_ID) or msg.correlation_id
        with structlog.contextvars.bound_contextvars(correlation_id=correlation_id):
            await self._settle(call_next, msg)

    async def _settle(self, call_next: Callable[[Any], Awaitable[Any]], msg: NatsMessage) -> None:
        raw: Msg = msg.raw_message
        deliveries = raw.metadata.num_delivered
        if self._parking.is_deadly(deliveries):
            await self._parking.park(raw, reason=NEVER_HANDLED.format(deliveries))
            return
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
