"""The blob store: content in MongoDB in GridFS's layout, readable by PyMongo's own bucket.

A blob's chunks are written first and its files document last, so that an
upload that broke off is invisible. PyMongo's own upload collects 48 MiB before
it writes; here a few chunks of 1 MiB are in memory at a time. Who knows the id
of a blob can follow it while it is written.

https://github.com/mongodb/specifications/blob/master/source/gridfs/gridfs-spec.md
"""

import asyncio
import hashlib
import time
import uuid
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bson import Binary, Int64, ObjectId
from pymongo import ASCENDING, DESCENDING
from pymongo.errors import PyMongoError

from tunedeck_chassis.blob_writes import Writes, of_equal_size, to_the_end
from tunedeck_chassis.mongo import Collection, Database, Document
from tunedeck_chassis.presence import Presence
from tunedeck_contracts.errors import NotFound, Unavailable
from tunedeck_contracts.message import utc_now

BLOBS_DATABASE = "tunedeck_blobs"
CHUNK_BYTES = 1024 * 1024
ORPHAN_AGE = timedelta(hours=24)
STALL_SECONDS = 60.0
_POLL_SECONDS = 0.02
_GIVEN_UP_SECONDS = 3600


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
    """Immutable blobs in one database, shared by the services as others share a bucket.

    While MongoDB is away, by `presence`, whoever begins is told soon; a transfer under way waits.
    """

    def __init__(self, database: Database, presence: Presence | None = None) -> None:
        self._presence = presence or Presence()
        self._left: dict[str, Writes] = {}
        """What is under way of blobs that were given up while MongoDB was away."""
        self._files = database["fs.files"]
        self._chunks = database["fs.chunks"]
        self._given_up = database["fs.given_up"]

    async def prepare(self) -> None:
        """Create the indexes that GridFS asks for, and the sweep's."""
        await self._chunks.create_index([("files_id", ASCENDING), ("n", ASCENDING)], unique=True)
        await self._files.create_index([("filename", ASCENDING), ("uploadDate", ASCENDING)])
        await self._files.create_index([("metadata.expires_at", ASCENDING)], sparse=True)
        await self._given_up.create_index([("at", ASCENDING)], expireAfterSeconds=_GIVEN_UP_SECONDS)

    async def put(
        self,
        chunks: AsyncIterable[bytes],
        *,
        filename: str,
        keep_for: timedelta | None = None,
        blob_id: str | None = None,
    ) -> Blob:
        """Store what `chunks` yields, of any sizes; for ever, or for `keep_for`.

        `blob_id` is one of `new_blob_id`, for who wants to have the blob followed.
        When `chunks` raises or the caller is cancelled, nothing stays.
        """
        blob_id = blob_id or new_blob_id()
        writes = Writes()
        try:
            blob = await self._write_chunks(blob_id, chunks, writes)
            await to_the_end(self._insert(self._files, _files_document(blob, filename, keep_for)))
        except BaseException:
            self._left[blob_id] = writes
            # Nothing can be removed then, and who sent it waits for its answer.
            if not self._presence.is_away:
                with suppress(PyMongoError):
                    await to_the_end(self._give_up(blob_id, writes))
            raise
        await self._remove_left()
        return blob

    async def read(self, blob_id: str, first_chunk: int = 0) -> AsyncIterator[bytes]:
        """The content in order, in pieces of up to 1 MiB: `async for piece in store.read(blob_id)`.

        `first_chunk` leaves out that many MiB at the start.

        Raises:
            NotFound: there is no such blob, or it was removed meanwhile.
        """
        left = (await self.stat(blob_id)).size - first_chunk * CHUNK_BYTES
        n = first_chunk
        while left > 0:
            # One query a chunk: a cursor would run out of time behind a slow reader.
            # Once some of it was read, a refusal helps nobody: a restart of MongoDB is waited for.
            chunk = await self._chunks.find_one({"files_id": blob_id, "n": n}, {"data": True})
            if chunk is None:
                raise _removed(blob_id)
            data = bytes(chunk["data"])
            left -= len(data)
            n += 1
            yield data

    async def follow(self, blob_id: str, stall_seconds: float = STALL_SECONDS) -> AsyncIterator[bytes]:
        """The content of a blob that is being written or is whole, each chunk as soon as it is there.

        Raises:
            NotFound: its writer gave it up.
            Unavailable: no chunk came for `stall_seconds`; its writer may be slow, or dead.
        """
        n = size = 0
        is_whole = False
        deadline = time.monotonic() + stall_seconds
        while True:
            chunk = await self._chunks.find_one({"files_id": blob_id, "n": n}, {"data": True})
            if chunk is not None:
                data = bytes(chunk["data"])
                n, size = n + 1, size + len(data)
                yield data
                deadline = time.monotonic() + stall_seconds
                continue
            file = await self._files.find_one({"_id": blob_id}, {"length": True})
            if file is not None:
                if size >= file["length"]:
                    return
                # The chunk may have come between the two questions, but not after the file.
                if is_whole:
                    raise _removed(blob_id)
                is_whole = True
                continue
            if await self._given_up.find_one({"_id": blob_id}) is not None:
                raise NotFound(f"The upload of the blob {blob_id!r} was given up.")
            if time.monotonic() > deadline:
                raise Unavailable(f"No more of the blob {blob_id!r} came within {stall_seconds:g} s.")
            await asyncio.sleep(_POLL_SECONDS)

    async def stat(self, blob_id: str) -> Blob:
        """Hash and size.

        Raises:
            NotFound: there is no such blob.
        """
        with self._presence.patience(repeatable=True):
            found = await self._files.find_one({"_id": blob_id}, {"length": True, "metadata.sha256": True})
        if found is None:
            raise _no_blob(blob_id)
        return Blob(id=blob_id, sha256=found["metadata"]["sha256"], size=int(found["length"]))

    async def keep(self, blob_id: str, keep_for: timedelta | None = None) -> None:
        """Drop the expiry, or set a new one.

        Raises:
            NotFound: there is no such blob, or the sweep was faster.
        """
        expiry = {"metadata.expires_at": utc_now() + keep_for if keep_for is not None else ""}
        change = {"$unset" if keep_for is None else "$set": expiry}
        result = await self._files.update_one({"_id": blob_id}, change)
        if result.matched_count == 0:
            raise _no_blob(blob_id)

    async def delete(self, blob_id: str) -> None:
        """Remove the blob; nothing happens when there is none."""
        await self._remove(blob_id)

    async def sweep(self) -> Swept:
        """Remove the blobs whose time is over, and chunks of broken uploads that are older than 24 h."""
        return Swept(expired=await self._sweep_expired(), orphaned=await self._sweep_orphans())

    async def _write_chunks(self, blob_id: str, chunks: AsyncIterable[bytes], writes: Writes) -> Blob:
        digest = hashlib.sha256()
        size = 0
        n = 0
        async for data in of_equal_size(chunks, CHUNK_BYTES):
            size += len(data)
            chunk = {"files_id": blob_id, "n": n, "data": Binary(data)}
            await writes.start(self._insert(self._chunks, chunk))
            await asyncio.to_thread(digest.update, data)
            n += 1
        await writes.all_done()
        return Blob(id=blob_id, sha256=digest.hexdigest(), size=size)

    async def _insert(self, collection: Collection, document: Document) -> None:
        with self._presence.patience(repeatable=False):
            await collection.insert_one(document)

    async def _remove_left(self) -> None:
        """What could not be removed then; what it fails at now again, the sweep does after a day."""
        for blob_id, writes in list(self._left.items()):
            with suppress(PyMongoError):
                await self._give_up(blob_id, writes)
            self._left.pop(blob_id, None)

    async def _give_up(self, blob_id: str, writes: Writes) -> None:
        await writes.all_ended()
        await self._remove(blob_id)
        self._left.pop(blob_id, None)
        # Tells a follower, which would wait.
        await self._given_up.update_one({"_id": blob_id}, {"$set": {"at": utc_now()}}, upsert=True)

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


def new_blob_id() -> str:
    """An id for a blob that is about to be put."""
    return uuid.uuid4().hex


def _removed(blob_id: str) -> NotFound:
    return NotFound(f"The blob {blob_id!r} was removed while it was read.")


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
