"""How long a request waits for NATS to come back.

nats-py keeps what is sent while it reconnects, and lets what was on its way run into its time limit, be that
a minute. Here an outage is known when it begins: a restart of the server is waited for, a longer one is told.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

log = structlog.get_logger()

BRIDGED_SECONDS = 2.0
BRIDGED_WRITE_SECONDS = 1.0


class Link:
    """The connection to NATS. Times are the event loop's."""

    def __init__(self) -> None:
        self._lost_at: float | None = None
        self._back = asyncio.Event()
        self._waiting: dict[asyncio.Timeout, tuple[float, bool]] = {}

    @property
    def is_lost(self) -> bool:
        """Whether NATS cannot be reached now."""
        return self._lost_at is not None

    async def back(self, deadline: float, *, repeatable: bool) -> bool:
        """Whether NATS can be reached, now or soon enough: within the bridged time, and the deadline."""
        if self._lost_at is None:
            return True
        try:
            async with asyncio.timeout_at(min(deadline, self._bridged_until(repeatable))):
                await self._back.wait()
        except TimeoutError:
            return False
        return True

    @asynccontextmanager
    async def waiting(self, deadline: float, *, repeatable: bool) -> AsyncIterator[None]:
        """TimeoutError at the deadline, and before it where what was sent is lost with the connection.

        With a restart over, what is repeatable is given up at once, to be sent again; for anything else the
        answer may still come.
        """
        async with asyncio.timeout_at(deadline) as limit:
            self._waiting[limit] = (deadline, repeatable)
            try:
                yield
            finally:
                del self._waiting[limit]

    async def on_lost(self) -> None:
        """nats-py's `disconnected_cb`."""
        log.warning("nats_disconnected")
        self._lost_at = asyncio.get_running_loop().time()
        self._back.clear()
        for limit, (deadline, repeatable) in self._waiting.items():
            _move(limit, min(deadline, self._bridged_until(repeatable)))

    async def on_back(self) -> None:
        """nats-py's `reconnected_cb`."""
        log.info("nats_reconnected")
        self._lost_at = None
        self._back.set()
        now = asyncio.get_running_loop().time()
        for limit, (deadline, repeatable) in self._waiting.items():
            _move(limit, now if repeatable else deadline)

    def _bridged_until(self, repeatable: bool) -> float:
        assert self._lost_at is not None
        return self._lost_at + (BRIDGED_SECONDS if repeatable else BRIDGED_WRITE_SECONDS)


def _move(limit: asyncio.Timeout, when: float) -> None:
    if not limit.expired():
        limit.reschedule(when)
