"""A gateway that is started before MongoDB is there."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.connected.access.conftest import StartGateway
from tests.support.servers import MongoServer
from tunedeck_chassis import mongo
from tunedeck_chassis.blobs import BLOBS_DATABASE
from tunedeck_gateway.settings import GatewaySettings


@pytest.fixture
def late(tmp_path: Path) -> Iterator[MongoServer]:
    server = MongoServer(tmp_path / "mongo")
    yield server
    server.kill()


async def test_it_says_what_is_away_and_makes_its_indexes_later(
    start: StartGateway, late: MongoServer
) -> None:
    gateway = await start(auth="off", mongo_url=late.url)
    answer = await gateway.main.get("/api/health")
    assert (answer.status_code, "MongoDB does not answer" in answer.text) == (503, True), answer.text
    await asyncio.to_thread(late.start)
    client = mongo.connect(GatewaySettings(mongo_url=late.url))
    chunks = client[BLOBS_DATABASE]["fs.chunks"]
    async with client, asyncio.timeout(60):
        while "files_id_1_n_1" not in await chunks.index_information():
            await asyncio.sleep(0.05)
