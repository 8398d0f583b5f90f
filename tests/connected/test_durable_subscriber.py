"""What docs/events.md says to who wants to go on where it stopped: its program with its permissions."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.js.errors import APIError

from tests.support.events_document import block
from tests.support.servers import Server
from tunedeck_chassis.provisioning import stream_config
from tunedeck_cli import server_commands
from tunedeck_contracts import subjects
from tunedeck_contracts.streams import JOBS, TRAINING

HEADING = "## Going on where you stopped"
USER = block("conf", HEADING).replace("nkey: $NATS_KEY_BILLING", "user: billing, password: billing")
HEARD_WITHIN = 20


class GuardedServer(Server):
    """nats-server with two users: one who may do all, and the document's."""

    name = "guarded-nats-server"

    def command(self) -> list[str]:
        configuration = self.folder / "nats.conf"
        configuration.write_text(
            f'listen: 127.0.0.1:{self.port}\njetstream {{ store_dir: "{self.folder / "store"}" }}\n'
            f"authorization {{ users: [ {{ user: admin, password: admin }}\n{USER} ] }}\n"
        )
        return server_commands.nats_command(configuration)

    def url(self, user: str) -> str:
        return f"nats://{user}:{user}@127.0.0.1:{self.port}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GuardedServer]:
    started = GuardedServer(tmp_path)
    started.start()
    yield started
    started.stop()


async def heard(server: GuardedServer, count: int) -> list[dict[str, Any]]:
    """What the document's program stores until it has so many, as a process of its own would."""
    stored: list[dict[str, Any]] = []

    async def store(event: dict[str, Any]) -> None:
        stored.append(event)

    names: dict[str, Any] = {"nats": nats, "json": json, "store": store}
    exec(block("python", HEADING), names)
    client = await nats.connect(server.url("billing"), inbox_prefix="_INBOX_billing")
    following = asyncio.create_task(names["follow"](client))
    async with asyncio.timeout(HEARD_WITHIN):
        while len(stored) < count and not following.done():
            await asyncio.sleep(0.02)
    # The last acknowledgement is on its way when its event is stored.
    await client.flush()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await client.close()
    return stored


async def tell(server: GuardedServer, *revs: int) -> None:
    client = await nats.connect(server.url("admin"))
    for rev in revs:
        await client.jetstream().publish(subjects.job_event("job_1_ab"), json.dumps({"rev": rev}).encode())
    await client.close()


async def test_it_gets_what_was_told_while_it_was_away(server: GuardedServer) -> None:
    client = await nats.connect(server.url("admin"))
    await client.jetstream().add_stream(stream_config(JOBS))
    await client.close()
    await tell(server, 1, 2)
    assert [event["rev"] for event in await heard(server, 2)] == [1, 2]
    await tell(server, 3, 4)
    assert [event["rev"] for event in await heard(server, 2)] == [3, 4]


async def test_it_may_not_read_another_stream(server: GuardedServer) -> None:
    client = await nats.connect(server.url("admin"))
    await client.jetstream().add_stream(stream_config(TRAINING))
    await client.close()
    client = await nats.connect(server.url("billing"), inbox_prefix="_INBOX_billing")
    with pytest.raises((APIError, TimeoutError)):
        await client.jetstream(timeout=1).pull_subscribe("training.*.*", durable="billing", stream="TRAINING")
    await client.close()
