"""Holds on to stream messages while the database is away."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from tunedeck_chassis.mongo import is_away

log = structlog.get_logger()

Result = TypeVar("Result")

TRY_AGAIN_SECONDS = 1.0


async def outlasting_outages(work: Callable[[], Awaitable[Result]], messages: Sequence[Msg]) -> Result:
    """Do the work, again and again while MongoDB cannot be reached.

    Handing the messages back would use up their deliveries, and an outage of a
    minute would park what is perfectly good. Each attempt tells JetStream that
    they are in progress; where that is missed they come again, which is harmless.
    """
    while True:
        try:
            return await work()
        except Exception as error:
            if not is_away(error):
                raise
            log.warning("database_away", holding=len(messages), error=type(error).__name__)
        for message in messages:
            with contextlib.suppress(NatsError):
                await message.in_progress()
        await asyncio.sleep(TRY_AGAIN_SECONDS)
