"""Ends the process when its event loop stands still: the supervisor starts it again."""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tunedeck_chassis.connection import CONNECTION_CLOSED_EXIT

FROZEN_SECONDS = 30.0
LOOK_SECONDS = 1.0


def _exit() -> None:
    os._exit(CONNECTION_CLOSED_EXIT)


@asynccontextmanager
async def watched_event_loop(
    frozen_seconds: float = FROZEN_SECONDS,
    look_seconds: float = LOOK_SECONDS,
    end: Callable[[], None] = _exit,
) -> AsyncIterator[None]:
    """Watch the running loop from a thread, because a frozen loop runs no health check of its own."""
    last = time.monotonic()
    done = threading.Event()

    async def tick() -> None:
        nonlocal last
        while True:
            last = time.monotonic()
            await asyncio.sleep(look_seconds)

    def watch() -> None:
        looked = time.monotonic()
        while not done.wait(look_seconds):
            # A process that was itself stopped (SIGSTOP, a sleeping laptop) says nothing about its loop.
            was_stopped = time.monotonic() - looked > frozen_seconds / 2
            looked = time.monotonic()
            if not was_stopped and looked - last > frozen_seconds:
                end()
                return

    ticking = asyncio.create_task(tick())
    watcher = threading.Thread(target=watch, name="event-loop-watch", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        ticking.cancel()
