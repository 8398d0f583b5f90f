"""How a blob's chunks are cut, and written a few at a time."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Coroutine
from typing import Any, TypeVar

WRITES_AT_ONCE = 3

Result = TypeVar("Result")


class Writes:
    """At most WRITES_AT_ONCE writes under way: each waits for the disk, and the next chunk need not."""

    def __init__(self) -> None:
        self._running: deque[asyncio.Future[Any]] = deque()

    async def start(self, write: Coroutine[Any, Any, Any]) -> None:
        """Start one, when there is room; raises what an earlier one raised."""
        self._running.append(asyncio.ensure_future(write))
        while len(self._running) >= WRITES_AT_ONCE:
            await self._oldest()

    async def all_done(self) -> None:
        """Wait for all; raises what one raised."""
        while self._running:
            await self._oldest()

    async def all_ended(self) -> None:
        """Wait until none is under way, whatever becomes of them."""
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _oldest(self) -> None:
        await asyncio.shield(self._running[0])
        self._running.popleft()


async def of_equal_size(chunks: AsyncIterable[bytes], length: int) -> AsyncIterator[bytes]:
    """Pieces of exactly `length` bytes, the last one shorter; none for no content."""
    parts: list[bytes | memoryview] = []
    size = 0
    async for chunk in chunks:
        left = memoryview(chunk)
        while size + len(left) >= length:
            missing = length - size
            yield b"".join([*parts, left[:missing]])
            parts, size, left = [], 0, left[missing:]
        if left:
            parts.append(left)
            size += len(left)
    if parts:
        yield b"".join(parts)


async def to_the_end(write: Coroutine[Any, Any, Result]) -> Result:
    """Await a write that a cancellation must not leave half known: it ends, then the cancellation goes on."""
    task = asyncio.ensure_future(write)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
