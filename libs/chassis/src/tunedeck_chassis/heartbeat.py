"""Shows from outside that this very process works: a file that it touches while it does.

A request would not show it, because the replicas of a service share their requests.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from tunedeck_chassis.link import Link

log = structlog.get_logger()

HEARTBEAT_SECONDS = 2.0


class Heartbeat:
    """Beats while the event loop runs and NATS can be reached; without a file, never."""

    def __init__(self, file: Path | None, link: Link, seconds: float = HEARTBEAT_SECONDS) -> None:
        self._file = file
        self._link = link
        self._seconds = seconds

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Beat for as long as this is open."""
        if self._file is None:
            yield
            return
        beats = asyncio.create_task(self._beat(self._file))
        try:
            yield
        finally:
            beats.cancel()

    async def _beat(self, file: Path) -> None:
        while True:
            if not self._link.is_lost:
                _touch(file)
            await asyncio.sleep(self._seconds)


def _touch(file: Path) -> None:
    try:
        file.touch()
    except OSError as error:
        log.warning("no_heartbeat", file=str(file), error=repr(error))
