"""The present stack on what a former version kept: its databases, and a NATS server with its streams."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nats
import pytest

from tests.chaos.scale import ONE_THREAD
from tests.e2e.api import Api
from tests.support.servers import NatsServer
from tests.support.tiny_model import build_tiny_model
from tunedeck_chassis import mongo
from tunedeck_chassis.blobs import BLOBS_DATABASE
from tunedeck_chassis.mongo_users import BACKUP
from tunedeck_cli import ports
from tunedeck_cli.home import Home
from tunedeck_cli.restore import restore
from tunedeck_cli.stack import Stack

DATA = Path(__file__).parent / "data"
MODELS = ("local/tiny", "local/later")
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
SHORTER_TIMES = {
    "TUNEDECK_LEASE_SECONDS": "6",
    "TUNEDECK_BEAT_SECONDS": "1",
    "TUNEDECK_LEASE_SWEEP_SECONDS": "1",
    **ONE_THREAD,
}


@dataclass(frozen=True)
class Upgraded:
    """The running stack, the uids of the former jobs by name, and what was said of them, by path."""

    api: Api
    uids: dict[str, str]
    answers: dict[str, Any]


@pytest.fixture(scope="module", params=sorted(path.name for path in DATA.iterdir()))
def upgraded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    """Each former version that was recorded, brought to the present one."""
    recorded = DATA / request.param
    home = Home(tmp_path_factory.mktemp("up") / "home")
    home.create()
    for model in MODELS:
        build_tiny_model(home.models / model)
    leave_streams(tmp_path_factory.mktemp("nats"), home, json.loads((recorded / "nats.json").read_text()))
    servers = Stack(home, wanted=ports.ANY, with_services=False)
    servers.start()
    try:
        asyncio.run(bring_back(servers, recorded / "backup"))
    finally:
        servers.stop()
    told = json.loads((recorded / "answers.json").read_text())
    stack = Stack(home, wanted=ports.ANY, environment=SHORTER_TIMES)
    stack.start()
    api = Api(stack.api_url, stack.monitor_url)
    yield Upgraded(api, told["uids"], told["answers"])
    api.close()
    stack.stop()


def leave_streams(folder: Path, home: Home, former: dict[str, Any]) -> None:
    """Leave the store of a nats-server that has the former streams and consumers in the home."""
    server = NatsServer(folder)
    server.start()
    try:
        asyncio.run(make_streams(server.url, former))
    finally:
        server.stop()
    home.nats_data.rmdir()
    (folder / "store").rename(home.nats_data)


async def make_streams(url: str, former: dict[str, Any]) -> None:
    client = await nats.connect(url, allow_reconnect=False)
    for name, one in former.items():
        await ask(client, f"STREAM.CREATE.{name}", one["stream"])
        for consumer in one["consumers"]:
            wanted = {"stream_name": name, "config": consumer}
            await ask(client, f"CONSUMER.DURABLE.CREATE.{name}.{consumer['durable_name']}", wanted)
    await client.close()


async def ask(client: nats.NATS, what: str, request: dict[str, Any]) -> None:
    reply = json.loads(
        (await client.request(f"$JS.API.{what}", json.dumps(request).encode(), timeout=5)).data
    )
    assert "error" not in reply, reply


async def bring_back(servers: Stack, backup: Path) -> None:
    """Restore, and let a day pass: by now, what was kept for a while has had its time."""
    async with mongo.connect(servers.settings(BACKUP)) as client:
        await restore(client, backup, replace=False, say=print)
    async with mongo.connect(servers.settings("catalog")) as client:
        for collection, field in (
            (client["tunedeck_catalog"]["uploads"], "expires_at"),
            (client[BLOBS_DATABASE]["fs.files"], "metadata.expires_at"),
        ):
            await collection.update_many({field: {"$type": "date"}}, {"$set": {field: LONG_AGO}})
