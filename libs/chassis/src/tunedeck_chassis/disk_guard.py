"""Takes in nothing more before the disk is full: what was acknowledged is then still safe, and can go on.

A full disk ends mongod at once. The disk asked about is the one that MongoDB writes to, as MongoDB tells: the
services themselves write nowhere else, but for a trainer's work folder.
"""

import asyncio

import pymongo
from pymongo.errors import PyMongoError

from tunedeck_chassis.mongo import Database
from tunedeck_contracts.errors import InsufficientStorage

BELIEVED_SECONDS = 2.0
ASKING_SECONDS = 1.5


class DiskGuard:
    """Asked before anything is taken in. `least_free_bytes` are kept free."""

    def __init__(self, database: Database, least_free_bytes: int) -> None:
        self._database = database
        self._least = least_free_bytes
        self._free = least_free_bytes
        self._measured_at = -BELIEVED_SECONDS

    async def check(self) -> None:
        """Return if there is room.

        Raises:
            InsufficientStorage: too little of the database's disk is free.
        """
        if self._least == 0:
            return
        now = asyncio.get_running_loop().time()
        if now - self._measured_at >= BELIEVED_SECONDS:
            self._measured_at = now
            await self._measure()
        if self._free < self._least:
            raise InsufficientStorage(
                f"The database's disk has {_megabytes(self._free)} MB left, and {_megabytes(self._least)} MB "
                "are kept free for what runs: nothing new is taken in until some space is freed."
            )

    async def _measure(self) -> None:
        try:
            with pymongo.timeout(ASKING_SECONDS):
                told = await self._database.command("dbStats")
        except PyMongoError:
            # It is away, which what comes next will tell; or it cannot say.
            return
        # Of a database without a collection MongoDB says nothing.
        if told["fsTotalSize"]:
            self._free = int(told["fsTotalSize"] - told["fsUsedSize"])


def _megabytes(size: int) -> int:
    return size // 2**20
