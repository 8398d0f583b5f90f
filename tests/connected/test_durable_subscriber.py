"""What docs/events.md says to who wants to go on where it stopped: its program, as the user that it names."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.js.errors import APIError

from tests.support.events_document import block
from tests.support.servers import NatsServer, settings_of
from tunedeck_chassis import secrets
from tunedeck_chassis.connection import connect
from tunedeck_chassis.provisioning import provision_streams
from tunedeck_contracts import subjects
from tunedeck_contracts.permissions import SUBSCRIBER
from tunedeck_contracts.streams import TELEMETRY_JOBS

HEADING = "## Going on where you stopped"
HEARD_WITHIN = 60


class GuardedServer(NatsServer):
    """With its users, and with its streams."""

    secrets: Path

    async def as_user(self, user: str) -> nats.NATS:
        return await connect(settings_of(user, self.secrets, nats_url=self.url), user)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GuardedServer]:
    secrets.create(tmp_path / "secrets")
    started = GuardedServer(tmp_path / "nats", secrets=tmp_path / "secrets")
    started.start()
    await provision_streams(settings_of("provision", started.secrets, nats_url=started.url))
    yield started
    started.stop()


async def heard(server: GuardedServer, count: int) -> list[dict[str, Any]]:
    """What the document's program stores until it has so many, as a process of its own would."""
    stored: list[dict[str, Any]] = []

    async def store(event: dict[str, Any]) -> None:
        stored.append(event)

    names: dict[str, Any] = {"nats": nats, "json": json, "store": store}
    exec(block("python", HEADING), names)
    client = await server.as_user(SUBSCRIBER)
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
    client = await server.as_user("jobs")
    for rev in revs:
        await client.jetstream().publish(subjects.job_event("job_1_ab"), json.dumps({"rev": rev}).encode())
    await client.close()


async def test_it_gets_what_was_told_while_it_was_away(server: GuardedServer) -> None:
    await tell(server, 1, 2)
    assert [event["rev"] for event in await heard(server, 2)] == [1, 2]
    await tell(server, 3, 4)
    assert [event["rev"] for event in await heard(server, 2)] == [3, 4]


async def test_it_may_neither_read_another_stream_nor_take_what_is_telemetrys(server: GuardedServer) -> None:
    await tell(server, 1)
    client = await server.as_user(SUBSCRIBER)
    jetstream = client.jetstream(timeout=1)
    with pytest.raises((APIError, TimeoutError)):
        await jetstream.pull_subscribe("training.*.*", durable="billing", stream="TRAINING")
    taken = await jetstream.pull_subscribe_bind(TELEMETRY_JOBS.name, TELEMETRY_JOBS.stream)
    with pytest.raises(TimeoutError):
        await taken.fetch(1, timeout=1)
    await client.close()
