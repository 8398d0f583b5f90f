"""Fetching the next piece of a file while one is worked on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def one_ahead(pieces: AsyncIterator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
    """The same pieces; when the block ends, nothing is fetched any more."""
    coming = asyncio.ensure_future(anext(pieces, None))

    async def ahead() -> AsyncIterator[bytes]:
        nonlocal coming
        while (piece := await coming) is not None:
            coming = asyncio.ensure_future(anext(pieces, None))
            yield piece

    try:
        yield ahead()
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
