"""Between the event loop and code that reads or makes bytes step by step in a thread."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TypeVar

Result = TypeVar("Result")


async def read_in_thread(pieces: AsyncIterator[bytes], work: Callable[[Iterator[bytes]], Result]) -> Result:
    """Run `work` in a thread; it pulls the pieces from the event loop one at a time."""
    return await asyncio.to_thread(work, _pulled(pieces, asyncio.get_running_loop()))


async def convert_in_thread(
    pieces: AsyncIterator[bytes], convert: Callable[[Iterator[bytes]], Iterator[bytes]]
) -> AsyncIterator[bytes]:
    """What `convert` yields, made in threads from the pieces, one step at a time."""
    converted = convert(_pulled(pieces, asyncio.get_running_loop()))
    while (piece := await asyncio.to_thread(next, converted, None)) is not None:
        yield piece


def _pulled(pieces: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop) -> Iterator[bytes]:
    async def step() -> bytes | None:
        return await anext(pieces, None)

    while (piece := asyncio.run_coroutine_threadsafe(step(), loop).result()) is not None:
        yield piece
