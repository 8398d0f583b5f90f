"""Takes in nothing more before the disk is full: what was acknowledged is then still safe, and can go on.

A full disk ends mongod at once. The disk asked about is the one that MongoDB writes to, as MongoDB tells: the
services themselves write nowhere else, but for a trainer's work folder.
"""

import asyncio
import time

import pymongo
from pymongo.errors import PyMongoError

from tunedeck_chassis.mongo import Database
from tunedeck_chassis.presence import Presence
from tunedeck_contracts.errors import InsufficientStorage

BELIEVED_SECONDS = 2.0
ASKING_SECONDS = 1.5


class DiskGuard:
    """Asked before anything is taken in. `least_free_bytes` are kept free.

    While MongoDB cannot say how much is free, nobody is refused for that: that it is away, others tell.
    """

    def __init__(self, database: Database, least_free_bytes: int, presence: Presence) -> None:
        self._database = database
        self._least = least_free_bytes
        self._presence = presence
        self._free: int | None = None
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()

    async def check(self, needed: int = 0) -> None:
        """Return if there is room, also after `needed` more bytes.

        Raises:
            InsufficientStorage: too little of the database's disk is free.
        """
        if self._least == 0 or self._presence.is_away:
            return
        # Who comes while MongoDB is asked waits for what it says: what it said before may be long past.
        async with self._asking:
            if time.monotonic() - self._asked_at >= BELIEVED_SECONDS:
                self._free = await self._measure()
                self._asked_at = time.monotonic()
            free = self._free
        if free is None or free - needed >= self._least:
            return
        what = f"{_megabytes(needed)} MB do not fit" if needed else "nothing new is taken in"
        raise InsufficientStorage(
            f"The database's disk has {_megabytes(free)} MB left, and {_megabytes(self._least)} MB "
            f"are kept free for what runs: {what} until some space is freed."
        )

    async def _measure(self) -> int | None:
        try:
            with pymongo.timeout(ASKING_SECONDS):
                told = await self._database.command("dbStats")
        except PyMongoError:
            return None
        # Of a database without a collection MongoDB says nothing.
        return int(told["fsTotalSize"] - told["fsUsedSize"]) if told["fsTotalSize"] else None


def _megabytes(size: int) -> int:
    return size // 2**20
