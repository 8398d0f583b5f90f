"""Whether MongoDB is there, so that nobody is kept waiting for what is known to be away."""

import contextlib
import math
import time
from contextlib import AbstractContextManager
from typing import Any

import pymongo
from pymongo.monitoring import (
    ServerHeartbeatFailedEvent,
    ServerHeartbeatListener,
    ServerHeartbeatStartedEvent,
    ServerHeartbeatSucceededEvent,
)

IMPATIENT_SECONDS = 0.25
"""PyMongo sees that its time is over only when it has waited for half a second, or has heard of a server:
it may wait half a second longer than this, and a client is to be told within one."""
_READS_BRIDGED_SECONDS = 2.7
_WRITES_BRIDGED_SECONDS = 5.0
_TO_ANSWER_SECONDS = 0.2
_TO_REFUSE_SECONDS = 1.0
"""Who asks in the last second that is bridged would be refused after more than one."""


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

    def patience(self, seconds: float = math.inf, *, repeatable: bool) -> AbstractContextManager[None]:
        """While MongoDB is away, limits what is asked of it within, for a caller who waits `seconds`.

        From the loss on a restart is bridged, for 2.7 s where the request can be sent again, else for 5 s;
        what comes after is refused soon. While MongoDB is there, the client's own limit holds.
        """
        if self._away_since is None:
            return contextlib.nullcontext()
        bridged = _READS_BRIDGED_SECONDS if repeatable else _WRITES_BRIDGED_SECONDS
        left = self._away_since + bridged - time.monotonic()
        if left < _TO_REFUSE_SECONDS:
            left = 0.0
        return pymongo.timeout(max(IMPATIENT_SECONDS, min(left, seconds - _TO_ANSWER_SECONDS)))

    def _lost(self, address: Any) -> None:
        self._writable.discard(address)
        if not self._writable and self._away_since is None:
            self._away_since = time.monotonic()
