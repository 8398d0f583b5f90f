"""Room on MongoDB's disk for what a run stores there."""

from collections.abc import Callable

from tunedeck_chassis.disk_guard import DiskGuard
from tunedeck_contracts.errors import InsufficientStorage


class Room:
    """Asks for room, and tells the job's log once for as long as there is none that `what` waits for it."""

    def __init__(self, disk: DiskGuard, warn: Callable[[str], None], what: str) -> None:
        self._disk = disk
        self._warn = warn
        self._what = what
        self._has_warned = False

    async def check(self, needed: int) -> None:
        """Return if there is room for so many bytes.

        Raises:
            InsufficientStorage: there is not.
            Unavailable: MongoDB does not tell.
        """
        try:
            await self._disk.check(needed)
        except InsufficientStorage as error:
            if not self._has_warned:
                self._warn(f"{self._what} to be stored. {error.detail}")
            self._has_warned = True
            raise
        self._has_warned = False
