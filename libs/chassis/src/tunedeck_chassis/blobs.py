"""The blob store: content in MongoDB in GridFS's layout, readable by PyMongo's own bucket.

A blob's chunks are written first and its files document last, so that an
upload that broke off is invisible. PyMongo's own upload collects 48 MiB before
it writes; here one chunk of 1 MiB is in memory at a time.

https://github.com/mongodb/specifications/blob/master/source/gridfs/gridfs-spec.md
"""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from bson import Binary, Int64, ObjectId
from pymongo import ASCENDING, DESCENDING
from pymongo.errors import PyMongoError

from tunedeck_chassis.mongo import Database, Document
from tunedeck_contracts.errors import NotFound
from tunedeck_contracts.message import utc_now

BLOBS_DATABASE = "tunedeck_blobs"
CHUNK_BYTES = 1024 * 1024
ORPHAN_AGE = timedelta(hours=24)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Blob:
    """Stored content. `sha256` in hex, `size` in bytes."""

    id: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Swept:
    """What a sweep removed."""

    expired: int
    orphaned: int


class BlobStore:
    """Immutable blobs in one database, shared by the services as others share a bucket."""

    def __init__(self, database: Database) -> None:
        self._files = database["fs.files"]
        self._chunks = database["fs.chunks"]

    async def prepare(self) -> None:
        """Create the indexes that GridFS asks for, and the sweep's."""
        await self._chunks.create_index([("files_id", ASCENDING), ("n", ASCENDING)], unique=True)
        await self._files.create_index([("filename", ASCENDING), ("uploadDate", ASCENDING)])
        await self._files.create_index([("metadata.expires_at", ASCENDING)], sparse=True)

    async def put(
        self, chunks: AsyncIterable[bytes], *, filename: str, keep_for: timedelta | None = None
    ) -> Blob:
        """Store what `chunks` yields, of any sizes; for ever, or for `keep_for`.

        When `chunks` raises or the caller is cancelled, nothing stays.
        """
        blob_id = uuid.uuid4().hex
        try:
            blob = await self._write_chunks(blob_id, chunks)
            await _to_the_end(self._files.insert_one(_files_document(blob, filename, keep_for)))
        except BaseException:
            with suppress(PyMongoError):
                await _to_the_end(self._remove(blob_id))
            raise
        return blob

    async def read(self, blob_id: str) -> AsyncIterator[bytes]:
        """The content in order, in pieces of up to 1 MiB: `async for piece in store.read(blob_id)`.

        Raises:
            NotFound: there is no such blob, or it was removed meanwhile.
        """
        left = (await self.stat(blob_id)).size
        n = 0
        while left > 0:
            # One query a chunk: a cursor would run out of time behind a slow reader.
            chunk = await self._chunks.find_one({"files_id": blob_id, "n": n}, {"data": True})
            if chunk is None:
                raise NotFound(f"The blob {blob_id!r} was removed while it was read.")
            data = bytes(chunk["data"])
            left -= len(data)
            n += 1
            yield data

    async def stat(self, blob_id: str) -> Blob:
        """Hash and size.

        Raises:
            NotFound: there is no such blob.
        """
        found = await self._files.find_one({"_id": blob_id}, {"length": True, "metadata.sha256": True})
        if found is None:
            raise _no_blob(blob_id)
        return Blob(id=blob_id, sha256=found["metadata"]["sha256"], size=int(found["length"]))

    async def keep(self, blob_id: str) -> None:
        """Drop the expiry.

        Raises:
            NotFound: there is no such blob, or the sweep was faster.
        """
        result = await self._files.update_one({"_id": blob_id}, {"$unset": {"metadata.expires_at": ""}})
        if result.matched_count == 0:
            raise _no_blob(blob_id)

    async def delete(self, blob_id: str) -> None:
        """Remove the blob; nothing happens when there is none."""
        await self._remove(blob_id)

    async def sweep(self) -> Swept:
        """Remove the blobs whose time is over, and chunks of broken uploads that are older than 24 h."""
        return Swept(expired=await self._sweep_expired(), orphaned=await self._sweep_orphans())

    async def _write_chunks(self, blob_id: str, chunks: AsyncIterable[bytes]) -> Blob:
        digest = hashlib.sha256()
        size = 0
        n = 0
        async for data in _of_equal_size(chunks):
            digest.update(data)
            size += len(data)
            await _to_the_end(self._chunks.insert_one({"files_id": blob_id, "n": n, "data": Binary(data)}))
            n += 1
        return Blob(id=blob_id, sha256=digest.hexdigest(), size=size)

    async def _remove(self, blob_id: str) -> None:
        # The files document goes first: what has one has all its chunks.
        await self._files.delete_one({"_id": blob_id})
        await self._chunks.delete_many({"files_id": blob_id})

    async def _sweep_expired(self) -> int:
        now = utc_now()
        removed = 0
        async for found in self._files.find({"metadata.expires_at": {"$lte": now}}, {"_id": True}):
            # The condition again, in the write: keep() may have been called since.
            deleted = await self._files.delete_one(
                {"_id": found["_id"], "metadata.expires_at": {"$lte": now}}
            )
            if deleted.deleted_count:
                await self._chunks.delete_many({"files_id": found["_id"]})
                removed += 1
        return removed

    async def _sweep_orphans(self) -> int:
        newest_swept = utc_now() - ORPHAN_AGE
        removed = 0
        # Grouping by the index's first key reads the index alone, not the chunks.
        cursor = await self._chunks.aggregate(
            [
                {"$group": {"_id": "$files_id"}},
                {"$lookup": {"from": "fs.files", "localField": "_id", "foreignField": "_id", "as": "file"}},
                {"$match": {"file": []}},
            ]
        )
        async for orphan in cursor:
            if await self._last_written(orphan["_id"]) < newest_swept:
                await self._chunks.delete_many({"files_id": orphan["_id"]})
                removed += 1
        return removed

    async def _last_written(self, files_id: Any) -> datetime:
        newest = await self._chunks.find_one({"files_id": files_id}, {"_id": True}, sort=[("n", DESCENDING)])
        if newest is None:
            return utc_now()
        written: ObjectId = newest["_id"]
        return written.generation_time


def _files_document(blob: Blob, filename: str, keep_for: timedelta | None) -> Document:
    now = utc_now()
    metadata: Document = {"sha256": blob.sha256}
    if keep_for is not None:
        metadata["expires_at"] = now + keep_for
    return {
        "_id": blob.id,
        "filename": filename,
        "length": Int64(blob.size),
        "chunkSize": CHUNK_BYTES,
        "uploadDate": now,
        "metadata": metadata,
    }


def _no_blob(blob_id: str) -> NotFound:
    return NotFound(f"There is no blob {blob_id!r}; it may have expired.")


async def _of_equal_size(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Pieces of exactly CHUNK_BYTES, the last one shorter; none for no content."""
    buffer = bytearray()
    async for chunk in chunks:
        view = memoryview(chunk)
        for start in range(0, len(view), CHUNK_BYTES):
            buffer += view[start : start + CHUNK_BYTES]
            if len(buffer) >= CHUNK_BYTES:
                yield bytes(buffer[:CHUNK_BYTES])
                del buffer[:CHUNK_BYTES]
    if buffer:
        yield bytes(buffer)


async def _to_the_end(write: Coroutine[Any, Any, Result]) -> Result:
    """Await a write that a cancellation must not leave half known: it ends, then the cancellation goes on."""
    task = asyncio.ensure_future(write)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
