"""A TCP wire that can be made to swallow everything, as a network does whose other end is gone silently."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tunedeck_cli.ports import LOOPBACK

_CHUNK = 2**16


class Wire:
    """Carries connections to a port of this machine. `port` is its own."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._carries = asyncio.Event()
        self._carries.set()
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0

    def swallow(self) -> None:
        """From now on nothing arrives, and nobody is told."""
        self._carries.clear()

    def carry(self) -> None:
        """Whatever waits arrives now."""
        self._carries.set()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until an end closes it."""
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        await self._carries.wait()
        to_reader, to_writer = await asyncio.open_connection(LOOPBACK, self._target)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(reader, to_writer))
                both.create_task(self._pass(to_reader, writer))
        except* OSError:
            pass
        finally:
            self._connections.discard(task)
            for end in (writer, to_writer):
                end.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            await self._carries.wait()
            writer.write(data)
            await writer.drain()
        with suppress(OSError):
            writer.write_eof()

    async def cut(self) -> None:
        """End every connection."""
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)


@asynccontextmanager
async def wire(target: int) -> AsyncIterator[Wire]:
    """A wire to the port, on a free port of its own."""
    made = Wire(target)
    server = await asyncio.start_server(made.connect, LOOPBACK)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await made.cut()
