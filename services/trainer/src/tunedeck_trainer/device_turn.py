"""Whose the trainer's device is: training comes first, and what else wants it asks here."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable


class DeviceTurn:
    """One training run at a time. What uses the device between runs leaves it before one begins."""

    def __init__(self) -> None:
        self.is_training = False
        self._give_way: list[Callable[[], Awaitable[None]]] = []
        self._free = asyncio.Event()
        self._free.set()

    def before_training(self, give_way: Callable[[], Awaitable[None]]) -> None:
        """What is called, and waited for, before a run begins."""
        self._give_way.append(give_way)

    @contextlib.asynccontextmanager
    async def training(self) -> AsyncIterator[None]:
        """The device is a run's."""
        self.is_training = True
        self._free.clear()
        try:
            for give_way in self._give_way:
                await give_way()
            yield
        finally:
            self.is_training = False
            self._free.set()

    async def free(self) -> None:
        """Wait until no run has it."""
        await self._free.wait()
