"""MongoDB away: a caller is told sooner than the client would give up, and served when it is back."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pymongo.errors import PyMongoError

from tests.support.servers import MongoServer
from tunedeck_chassis import mongo
from tunedeck_chassis import presence as presence_module
from tunedeck_chassis.blobs import CHUNK_BYTES, BlobStore
from tunedeck_chassis.presence import Presence
from tunedeck_chassis.settings import ServiceSettings

READS_BRIDGED_SECONDS = 8.0
CLIENT_SECONDS = 20.0
SECONDS = 60.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MongoServer]:
    own = MongoServer(tmp_path)
    own.start()
    yield own
    own.kill()


async def test_who_asks_in_a_known_outage_is_refused_soon(
    server: MongoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence_module, "_READS_BRIDGED_SECONDS", READS_BRIDGED_SECONDS)
    presence = Presence()
    settings = ServiceSettings(mongo_url=server.url)
    client = mongo.connect(settings, seconds=CLIENT_SECONDS, presence=presence)

    async def seconds_until_refused() -> float:
        began = time.monotonic()
        with pytest.raises(PyMongoError) as refused, presence.patience(SECONDS, repeatable=True):
            await client.probe.things.find_one()
        assert mongo.is_away(refused.value)
        return time.monotonic() - began

    async with client, asyncio.timeout(SECONDS):
        await client.probe.things.insert_one({"_id": 1})
        assert not presence.is_away
        server.kill()
        while not presence.is_away:
            await asyncio.sleep(0.05)
        bridging = await seconds_until_refused()
        at_once = await seconds_until_refused()
        assert at_once < bridging < CLIENT_SECONDS

        await asyncio.to_thread(server.start)
        while presence.is_away:
            with suppress(PyMongoError), presence.patience(SECONDS, repeatable=True):
                await client.admin.command("ping")
        assert await client.probe.things.find_one() == {"_id": 1}


async def test_what_of_a_blob_was_written_before_an_outage_is_gone_after_it(
    server: MongoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    presence = Presence()
    client = mongo.connect(ServiceSettings(mongo_url=server.url), presence=presence)
    database = client.probe
    blobs = BlobStore(database, presence)

    async def broken_off() -> AsyncIterator[bytes]:
        yield b"x" * CHUNK_BYTES
        while not await database["fs.chunks"].count_documents({}):
            await asyncio.sleep(0.02)
        server.kill()
        while not presence.is_away:
            await asyncio.sleep(0.02)
        yield b"x" * CHUNK_BYTES

    async def not_now(_: str) -> None:
        raise AssertionError("nothing can be removed while MongoDB is away")

    async def whole() -> AsyncIterator[bytes]:
        yield b"whole"

    async with client, asyncio.timeout(SECONDS):
        # Who sent it would wait until nothing could be removed.
        removed = blobs._remove
        monkeypatch.setattr(blobs, "_remove", not_now)
        with pytest.raises(PyMongoError):
            await blobs.put(broken_off(), filename="broken off")
        monkeypatch.setattr(blobs, "_remove", removed)
        await asyncio.to_thread(server.start)
        while presence.is_away:
            with suppress(PyMongoError):
                await client.admin.command("ping")
        stored = await blobs.put(whole(), filename="whole")
        assert await database["fs.chunks"].distinct("files_id") == [stored.id]
