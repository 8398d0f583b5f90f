"""Bridges the death of a service that has taken a read: nobody says that its answer will not come.

A "hedged request" (Dean and Barroso, The Tail at Scale, 2013), once at most: the first asking stays open.
"""

import asyncio
from collections.abc import Awaitable, Callable

from nats.aio.msg import Msg
from nats.errors import NoRespondersError

ASKED_AGAIN_SECONDS = 0.5
_RETRY_WAIT = 0.1


async def asked_twice(ask: Callable[[], Awaitable[Msg]]) -> Msg:
    """The answer to `ask()`, or to a second one made after ASKED_AGAIN_SECONDS, whichever comes first.

    The second one waits for a service that nobody answers for. What the first raises is raised.
    """
    loop = asyncio.get_running_loop()
    second: asyncio.Task[Msg] | None = None

    async def again() -> Msg:
        while True:
            try:
                return await ask()
            except NoRespondersError:
                await asyncio.sleep(_RETRY_WAIT)

    def start() -> None:
        nonlocal second
        second = asyncio.create_task(again())
        second.add_done_callback(answered)

    def answered(task: asyncio.Task[Msg]) -> None:
        if not task.cancelled() and task.exception() is None and not limit.expired():
            limit.reschedule(loop.time())

    timer = loop.call_later(ASKED_AGAIN_SECONDS, start)
    try:
        async with asyncio.timeout(None) as limit:
            return await ask()
    except TimeoutError:
        if second is None or not second.done() or second.exception() is not None:
            raise
        return second.result()
    finally:
        timer.cancel()
        if second is not None:
            second.remove_done_callback(answered)
            second.cancel()
