"""The blob store against a real MongoDB, read back by PyMongo's own bucket."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from bson import Binary, ObjectId
from gridfs import AsyncGridFSBucket
from pymongo.errors import DuplicateKeyError

from tunedeck_chassis import mongo
from tunedeck_chassis.blobs import CHUNK_BYTES, Blob, BlobStore, Swept, new_blob_id
from tunedeck_chassis.mongo import Database
from tunedeck_chassis.settings import ServiceSettings
from tunedeck_contracts.errors import NotFound, Unavailable
from tunedeck_contracts.message import utc_now

pytestmark = pytest.mark.connected


@pytest.fixture
async def database(mongo_url: str) -> AsyncIterator[Database]:
    client = mongo.connect(ServiceSettings(mongo_url=mongo_url))
    name = f"blobs_{uuid.uuid4().hex[:8]}"
    yield client[name]
    await client.drop_database(name)
    await client.close()


@pytest.fixture
async def store(database: Database) -> BlobStore:
    store = BlobStore(database)
    await store.prepare()
    return store


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


async def content(store: BlobStore, blob_id: str) -> bytes:
    return b"".join([piece async for piece in store.read(blob_id)])


async def counts(database: Database) -> tuple[int, int]:
    files = await database["fs.files"].count_documents({})
    return files, await database["fs.chunks"].count_documents({})


SIZES = [
    [],
    [0],
    [1],
    [CHUNK_BYTES],
    [CHUNK_BYTES, CHUNK_BYTES],
    [CHUNK_BYTES - 1, 2],
    [3 * CHUNK_BYTES + 5, 1, 0, 7],
    [100_000] * 25,
]


@pytest.mark.parametrize("sizes", SIZES)
async def test_what_is_put_is_read_by_us_and_by_the_stock_bucket(
    store: BlobStore, database: Database, sizes: list[int]
) -> None:
    data = [bytes([n % 251]) * size for n, size in enumerate(sizes)]
    whole = b"".join(data)
    blob = await store.put(pieces(*data), filename="some.bin")
    assert blob == Blob(blob.id, hashlib.sha256(whole).hexdigest(), len(whole))
    assert await store.stat(blob.id) == blob
    assert await content(store, blob.id) == whole
    stock = await AsyncGridFSBucket(database).open_download_stream(blob.id)
    assert await stock.read() == whole
    assert stock.filename == "some.bin"
    chunks = await database["fs.chunks"].find().sort("n", 1).to_list()
    assert [chunk["n"] for chunk in chunks] == list(range(-(-len(whole) // CHUNK_BYTES)))


async def test_a_source_that_fails_leaves_nothing(store: BlobStore, database: Database) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * (2 * CHUNK_BYTES + 1)
        raise OSError("the client went away")

    with pytest.raises(OSError, match="went away"):
        await store.put(broken(), filename="half")
    assert await counts(database) == (0, 0)


async def test_half_an_upload_is_invisible_and_a_cancelled_one_gone(
    store: BlobStore, database: Database
) -> None:
    written = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"x" * (2 * CHUNK_BYTES)
        written.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(store.put(endless(), filename="half"))
    await asyncio.wait_for(written.wait(), 10)
    async with asyncio.timeout(10):
        while await counts(database) != (0, 2):
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await counts(database) == (0, 0)


@pytest.mark.parametrize("delay", [0.0, 0.002, 0.005, 0.01, 0.02])
async def test_a_cancellation_at_any_moment_leaves_all_or_nothing(
    store: BlobStore, database: Database, delay: float
) -> None:
    task = asyncio.create_task(store.put(pieces(b"x" * (3 * CHUNK_BYTES)), filename="x"))
    await asyncio.sleep(delay)
    task.cancel()
    result = (await asyncio.gather(task, return_exceptions=True))[0]
    expected = (1, 3) if isinstance(result, Blob) else (0, 0)
    assert await counts(database) == expected


async def test_a_blob_is_followed_while_it_is_written(store: BlobStore) -> None:
    followed: asyncio.Queue[bytes] = asyncio.Queue()
    blob_id = new_blob_id()

    async def follow() -> None:
        async for piece in store.follow(blob_id):
            followed.put_nowait(piece)

    async def answered() -> AsyncIterator[bytes]:
        """Sends the next chunk only when the last but one was seen: nothing waits for the end."""
        for n in range(6):
            yield bytes([n]) * CHUNK_BYTES
            if n:
                assert await asyncio.wait_for(followed.get(), 10) == bytes([n - 1]) * CHUNK_BYTES
        yield b"end"

    following = asyncio.create_task(follow())
    await store.put(answered(), filename="x", blob_id=blob_id)
    await asyncio.wait_for(following, 10)
    assert [followed.get_nowait() for _ in range(followed.qsize())] == [b"\x05" * CHUNK_BYTES, b"end"]


async def test_who_follows_a_blob_is_told_that_it_was_given_up(store: BlobStore) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * CHUNK_BYTES
        raise OSError("the client went away")

    blob_id = new_blob_id()
    with pytest.raises(OSError, match="went away"):
        await store.put(broken(), filename="half", blob_id=blob_id)
    with pytest.raises(NotFound, match="given up"):
        [piece async for piece in store.follow(blob_id)]


async def test_who_follows_a_dead_writer_does_not_wait_for_ever(store: BlobStore) -> None:
    with pytest.raises(Unavailable, match=r"within 0\.05 s"):
        [piece async for piece in store.follow(new_blob_id(), stall_seconds=0.05)]


async def test_a_blob_that_is_whole_or_empty_is_followed_to_its_end(
    store: BlobStore, database: Database
) -> None:
    for data in (b"", b"x" * (CHUNK_BYTES + 1)):
        blob = await store.put(pieces(data), filename="x")
        assert b"".join([piece async for piece in store.follow(blob.id)]) == data
    await database["fs.chunks"].delete_one({"files_id": blob.id, "n": 1})
    with pytest.raises(NotFound, match="removed"):
        [piece async for piece in store.follow(blob.id)]


async def test_reading_can_start_at_a_later_chunk(store: BlobStore) -> None:
    blob = await store.put(pieces(b"a" * CHUNK_BYTES, b"b" * CHUNK_BYTES, b"c"), filename="x")
    assert (
        b"".join([piece async for piece in store.read(blob.id, first_chunk=1)]) == b"b" * CHUNK_BYTES + b"c"
    )


async def test_a_chunk_cannot_be_there_twice(store: BlobStore, database: Database) -> None:
    blob = await store.put(pieces(b"x"), filename="x")
    with pytest.raises(DuplicateKeyError):
        await database["fs.chunks"].insert_one({"files_id": blob.id, "n": 0, "data": Binary(b"y")})


async def test_deleted_and_unknown_blobs_are_not_found(store: BlobStore, database: Database) -> None:
    blob = await store.put(pieces(b"x" * CHUNK_BYTES, b"y"), filename="x")
    reader = store.read(blob.id)
    assert len(await anext(reader)) == CHUNK_BYTES
    await store.delete(blob.id)
    await store.delete(blob.id)
    with pytest.raises(NotFound):
        await anext(reader)
    for wanted in (store.stat, store.keep):
        with pytest.raises(NotFound):
            await wanted(blob.id)
    with pytest.raises(NotFound):
        await content(store, "unknown")
    assert await counts(database) == (0, 0)


async def test_the_sweep_takes_what_has_expired_and_was_not_kept(
    store: BlobStore, database: Database
) -> None:
    over = timedelta(seconds=-1)
    await store.put(pieces(b"expired"), filename="a", keep_for=over)
    kept = await store.put(pieces(b"kept"), filename="b", keep_for=over)
    await store.keep(kept.id)
    later = await store.put(pieces(b"later"), filename="c", keep_for=timedelta(hours=1))
    forever = await store.put(pieces(b"forever"), filename="d")
    assert await store.sweep() == Swept(expired=1, orphaned=0)
    left = {document["_id"] async for document in database["fs.files"].find()}
    assert left == {kept.id, later.id, forever.id}
    assert await counts(database) == (3, 3)


async def test_the_sweep_takes_old_orphans_and_leaves_an_upload_in_progress(
    store: BlobStore, database: Database
) -> None:
    old = ObjectId.from_datetime(utc_now() - timedelta(hours=25))
    new = ObjectId.from_datetime(utc_now() - timedelta(hours=1))

    def chunk(chunk_id: ObjectId, files_id: str, n: int) -> dict[str, Any]:
        return {"_id": chunk_id, "files_id": files_id, "n": n, "data": Binary(b"x")}

    another_old = ObjectId.from_datetime(utc_now() - timedelta(hours=26))
    await database["fs.chunks"].insert_many(
        [chunk(old, "broken", 0), chunk(another_old, "slow", 0), chunk(new, "slow", 1)]
    )
    kept = await store.put(pieces(b"kept"), filename="a")
    assert await store.sweep() == Swept(expired=0, orphaned=1)
    assert set(await database["fs.chunks"].distinct("files_id")) == {"slow", kept.id}
