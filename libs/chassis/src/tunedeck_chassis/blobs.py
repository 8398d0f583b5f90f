"""Files, in MongoDB in GridFS's layout, so that the stock `AsyncGridFSBucket` reads them.

Files do not go over the bus. The chunks are written one by one because
PyMongo's own upload buffers 48 MiB a file.
https://github.com/mongodb/specifications/blob/master/source/gridfs/gridfs-spec.md
"""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from bson import Binary, ObjectId
from pymongo import ASCENDING

from tunedeck_chassis.mongo import Database, Document
from tunedeck_contracts.errors import NotFound
from tunedeck_contracts.message import utc_now

BLOBS_DATABASE = "tunedeck_blobs"
CHUNK_SIZE = 1024 * 1024
ABANDONED_AFTER = timedelta(hours=24)


@dataclass(frozen=True)
class Blob:
    """A stored file: its id, the SHA-256 of its bytes in hex, and their number."""

    id: str
    sha256: str
    size: int


class BlobStore:
    """A file is invisible until all of it is stored: its document is written last."""

    def __init__(self, database: Database) -> None:
        self._files = database["fs.files"]
        self._chunks = database["fs.chunks"]

    async def prepare(self) -> None:
        """Create the indexes of GridFS's layout."""
        await self._chunks.create_index([("files_id", ASCENDING), ("n", ASCENDING)], unique=True)
        await self._files.create_index([("filename", ASCENDING), ("uploadDate", ASCENDING)])
        await self._files.create_index([("metadata.expires_at", ASCENDING)], sparse=True)

    async def put(
        self, chunks: AsyncIterable[bytes], *, filename: str, keep_for: timedelta | None = None
    ) -> Blob:
        """Store what arrives, in pieces of any size; nothing is left of it when it breaks off.

        `keep_for` lets the blob expire; `keep()` makes it stay.
        """
        blob_id = uuid.uuid4().hex
        hasher = hashlib.sha256()
        size = count = 0
        try:
            async for chunk in _resized(chunks):
                hasher.update(chunk)
                await self._chunks.insert_one(
                    {"_id": ObjectId(), "files_id": blob_id, "n": count, "data": Binary(chunk)}
                )
                size += len(chunk)
                count += 1
            metadata: Document = {"sha256": hasher.hexdigest()}
            now = utc_now()
            if keep_for is not None:
                metadata["expires_at"] = now + keep_for
            await self._files.insert_one(
                {
                    "_id": blob_id,
                    "length": size,
                    "chunkSize": CHUNK_SIZE,
                    "uploadDate": now,
                    "filename": filename,
                    "metadata": metadata,
                }
            )
        except BaseException:
            await asyncio.shield(self._drop_chunks(blob_id))
            raise
        return Blob(blob_id, hasher.hexdigest(), size)

    async def stat(self, blob_id: str) -> Blob:
        """What is known of a blob.

        Raises:
            NotFound: there is none, or it has expired.
        """
        found = await self._files.find_one({"_id": blob_id})
        if found is None or _is_past(found["metadata"].get("expires_at")):
            raise NotFound("The file is not stored any more; an upload is kept for 24 hours.")
        return Blob(found["_id"], found["metadata"]["sha256"], found["length"])

    async def read(self, blob_id: str) -> AsyncIterator[bytes]:
        """The bytes, in chunks of at most 1 MiB.

        Raises:
            NotFound: there is no such blob.
        """
        blob = await self.stat(blob_id)
        sent = 0
        async for chunk in self._chunks.find({"files_id": blob_id}).sort("n", ASCENDING).batch_size(8):
            sent += len(chunk["data"])
            yield bytes(chunk["data"])
        if sent != blob.size:
            raise NotFound(f"The file {blob_id!r} is damaged: {sent} of {blob.size} bytes are stored.")

    async def keep(self, blob_id: str) -> None:
        """Let the blob stay until it is deleted."""
        await self._files.update_one({"_id": blob_id}, {"$unset": {"metadata.expires_at": ""}})

    async def delete(self, blob_id: str) -> None:
        """Remove a blob; one that is not there is removed already."""
        await self._files.delete_one({"_id": blob_id})
        await self._drop_chunks(blob_id)

    async def sweep(self) -> int:
        """Remove what has expired and what a dead writer left; return how many blobs."""
        removed = 0
        async for found in self._files.find({"metadata.expires_at": {"$lt": utc_now()}}, {"_id": 1}):
            await self.delete(found["_id"])
            removed += 1
        before = ObjectId.from_datetime(utc_now() - ABANDONED_AFTER)
        for blob_id in await self._chunks.distinct("files_id", {"n": 0, "_id": {"$lt": before}}):
            if await self._files.find_one({"_id": blob_id}, {"_id": 1}) is None:
                await self._drop_chunks(blob_id)
                removed += 1
        return removed

    async def _drop_chunks(self, blob_id: str) -> None:
        await self._chunks.delete_many({"files_id": blob_id})


def _is_past(moment: datetime | None) -> bool:
    return moment is not None and moment < utc_now()


async def _resized(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Pieces of any size as chunks of 1 MiB, the last one shorter."""
    buffer = bytearray()
    async for piece in pieces:
        buffer += piece
        while len(buffer) >= CHUNK_SIZE:
            yield bytes(buffer[:CHUNK_SIZE])
            del buffer[:CHUNK_SIZE]
    if buffer:
        yield bytes(buffer)
