"""Whether MongoDB is there, so that nobody is kept waiting for what is known to be away."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any

import pymongo
from pymongo.errors import ServerSelectionTimeoutError
from pymongo.monitoring import (
    ServerHeartbeatFailedEvent,
    ServerHeartbeatListener,
    ServerHeartbeatStartedEvent,
    ServerHeartbeatSucceededEvent,
)

IMPATIENT_SECONDS = 0.6
"""Long enough for PyMongo to look again, which it does twice a second at most; short of the second in
which a client is told."""
_LATE_SECONDS = 0.3
"""PyMongo sees every half second only that its time is over; it is not waited for so long."""
_READS_BRIDGED_SECONDS = 2.7
_WRITES_BRIDGED_SECONDS = 5.0
_TO_ANSWER_SECONDS = 0.2


class Presence(ServerHeartbeatListener):
    """Listens to a client's monitors, which notice a lost connection at once."""

    def __init__(self) -> None:
        self._writable: set[Any] = set()
        self._away_since: float | None = None

    @property
    def is_away(self) -> bool:
        """Whether the server that took writes was lost."""
        return self._away_since is not None

    def started(self, event: ServerHeartbeatStartedEvent) -> None:
        """A server is being asked; its answer counts."""

    def succeeded(self, event: ServerHeartbeatSucceededEvent) -> None:
        """A server has answered."""
        if event.reply.is_writable:
            self._writable.add(event.connection_id)
            self._away_since = None
        else:
            self._lost(event.connection_id)

    def failed(self, event: ServerHeartbeatFailedEvent) -> None:
        """A server has not answered."""
        self._lost(event.connection_id)

    def patience(self, seconds: float, *, repeatable: bool) -> AbstractContextManager[None]:
        """While MongoDB is away, limits what is asked of it within, for a caller who waits `seconds`.

        From the loss on a restart is bridged, for 2.7 s where the request can be sent again, else for 5 s;
        what comes after is refused soon. While MongoDB is there, the client's own limit holds.
        """
        limit = self._limit(seconds, repeatable)
        return nullcontext() if limit is None else pymongo.timeout(limit)

    @asynccontextmanager
    async def within(self, seconds: float, *, repeatable: bool) -> AsyncIterator[None]:
        """As `patience`, and ends what goes on after it.

        Raises:
            ServerSelectionTimeoutError: MongoDB did not come back in time.
        """
        limit = self._limit(seconds, repeatable)
        if limit is None:
            yield
            return
        try:
            with pymongo.timeout(limit):
                async with asyncio.timeout(limit + _LATE_SECONDS):
                    yield
        except TimeoutError:
            raise ServerSelectionTimeoutError("MongoDB is away.") from None

    def _limit(self, seconds: float, repeatable: bool) -> float | None:
        if self._away_since is None:
            return None
        bridged = _READS_BRIDGED_SECONDS if repeatable else _WRITES_BRIDGED_SECONDS
        left = self._away_since + bridged - time.monotonic()
        return max(IMPATIENT_SECONDS, min(left, seconds - _TO_ANSWER_SECONDS))

    def _lost(self, address: Any) -> None:
        self._writable.discard(address)
        if not self._writable and self._away_since is None:
            self._away_since = time.monotonic()
