"""Takes in nothing more before the disk is full: what was acknowledged is then still safe, and can go on.

A full disk ends mongod at once. The disk asked about is the one that MongoDB writes to, as MongoDB tells: the
services themselves write nowhere else, but for a trainer's work folder.
"""

import asyncio
import math
import time

import pymongo
import structlog
from pymongo.errors import PyMongoError

from tunedeck_chassis.mongo import Database
from tunedeck_chassis.presence import Presence
from tunedeck_contracts.errors import InsufficientStorage, Unavailable

log = structlog.get_logger()

BELIEVED_SECONDS = 2.0
ASKING_SECONDS = 1.5
_TIMES_WRITTEN = 2
"""Into the collection, and into the journal until the next checkpoint of MongoDB's."""


class DiskGuard:
    """Asked before anything is taken in. `least_free_bytes` are kept free.

    While MongoDB is away, nobody is refused for want of room: that it is away, others tell.
    """

    def __init__(self, database: Database, least_free_bytes: int, presence: Presence) -> None:
        self._database = database
        self._least = least_free_bytes
        self._presence = presence
        self._free: float | None = None
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()

    async def check(self, needed: int = 0) -> None:
        """Return if there is room, also for `needed` bytes, which are then taken for written.

        Raises:
            InsufficientStorage: too little of the database's disk is free.
            Unavailable: bytes are needed, and MongoDB does not tell how many are free.
        """
        if self._least == 0 or self._presence.is_away:
            return
        # Who comes while MongoDB is asked waits for what it says: what it said before may be long past.
        async with self._asking:
            if time.monotonic() - self._asked_at >= BELIEVED_SECONDS:
                self._free = await self._measure()
                self._asked_at = time.monotonic()
            free = self._free
            if free is not None and free - _TIMES_WRITTEN * needed >= self._least:
                self._free = free - _TIMES_WRITTEN * needed
                return
        if free is None:
            if needed:
                raise Unavailable("MongoDB does not tell how much of its disk is free.")
            return
        what = f"{_megabytes(needed)} MB do not fit" if needed else "nothing new is taken in"
        raise InsufficientStorage(
            f"The database's disk has {_megabytes(free)} MB left, and {_megabytes(self._least)} MB "
            f"are kept free for what runs: {what} until some space is freed."
        )

    async def _measure(self) -> float | None:
        """Bytes that are free; None where MongoDB gives no answer."""
        try:
            with pymongo.timeout(ASKING_SECONDS):
                told = await self._database.command("dbStats")
        except PyMongoError as error:
            log.warning("free_space_unknown", error=repr(error))
            return None
        # Of a database without a collection it says nothing.
        return float(told["fsTotalSize"] - told["fsUsedSize"]) if told["fsTotalSize"] else math.inf


def _megabytes(size: float) -> int:
    return int(size) // 2**20
