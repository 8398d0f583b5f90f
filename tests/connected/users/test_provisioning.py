"""Streams and consumers of an older Tunedeck: changed where NATS allows it, and named where it does not."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import nats
import pytest
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, StorageType, StreamConfig

from tests.support.servers import NatsServer, provision, settings_of
from tunedeck_chassis.connection import connect
from tunedeck_chassis.keeper import keep
from tunedeck_chassis.misprovisioned import Misprovisioned
from tunedeck_chassis.provisioning import (
    ProvisionSettings,
    assert_provisioned,
    consumer_config,
    provision_streams,
    stream_config,
)
from tunedeck_contracts import subjects
from tunedeck_contracts.streams import DLQ, JOBS, TELEMETRY_JOBS

pytestmark = pytest.mark.connected


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """What is left of its streams would trouble other tests."""
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def jetstream(server: NatsServer) -> AsyncIterator[JetStreamContext]:
    """Everything provisioned."""
    await server.clear()
    await provision(server.url)
    client = await nats.connect(server.url)
    yield client.jetstream()
    await client.close()


async def test_what_nats_can_change_is_changed_and_nothing_is_lost(
    server: NatsServer, jetstream: JetStreamContext
) -> None:
    await jetstream.update_stream(stream_config(JOBS).evolve(max_age=3600.0, subjects=[subjects.JOB_EVENTS]))
    await jetstream.add_consumer(JOBS.name, consumer_config(TELEMETRY_JOBS).evolve(max_ack_pending=7))
    await jetstream.publish(subjects.job_event("a"), b"{}")
    with pytest.raises(Misprovisioned, match=r"max_age=3600\.0, not 604800\.0.*max_ack_pending=7, not 256"):
        await assert_provisioned(jetstream._nc)
    assert await provision(server.url) == [
        "stream JOBS changed: it had subjects=['job.event.*'], not ['job.start', 'job.event.*'], "
        "max_age=3600.0, not 604800.0",
        "consumer telemetry-jobs changed: it had max_ack_pending=7, not 256",
    ]
    await assert_provisioned(jetstream._nc)
    assert await provision(server.url) == []
    assert (await jetstream.stream_info(JOBS.name)).state.messages == 1


async def test_the_keeper_makes_what_is_gone_and_leaves_what_another_release_has_changed(
    server: NatsServer, jetstream: JetStreamContext
) -> None:
    await jetstream.update_stream(stream_config(JOBS).evolve(max_age=3600.0))
    await jetstream.add_consumer(JOBS.name, consumer_config(TELEMETRY_JOBS).evolve(max_ack_pending=7))
    await jetstream.delete_stream(DLQ.name)
    keeping = asyncio.create_task(keep(ProvisionSettings(nats_url=server.url)))
    try:
        async with asyncio.timeout(20):
            while DLQ.name not in {one.config.name for one in await jetstream.streams_info()}:
                await asyncio.sleep(0.05)
            # The look that follows begins after the one that has made it.
            await jetstream.delete_stream(DLQ.name)
            while DLQ.name not in {one.config.name for one in await jetstream.streams_info()}:
                await asyncio.sleep(0.05)
    finally:
        keeping.cancel()
    assert (await jetstream.stream_info(JOBS.name)).config.max_age == 3600.0
    assert (await jetstream.consumer_info(JOBS.name, TELEMETRY_JOBS.name)).config.max_ack_pending == 7


async def test_a_stream_that_nats_does_not_change_is_named(
    server: NatsServer, jetstream: JetStreamContext
) -> None:
    await jetstream.delete_stream(DLQ.name)
    await jetstream.add_stream(
        StreamConfig(name=DLQ.name, subjects=[subjects.DEAD_LETTERS], storage=StorageType.MEMORY)
    )
    wanted = r"does not change the stream DLQ, which has storage=memory, not file.*remove its store"
    with pytest.raises(Misprovisioned, match=wanted):
        await provision(server.url)


async def test_a_consumer_that_nats_does_not_change_is_named(
    server: NatsServer, jetstream: JetStreamContext
) -> None:
    await jetstream.delete_consumer(JOBS.name, TELEMETRY_JOBS.name)
    await jetstream.add_consumer(JOBS.name, consumer_config(TELEMETRY_JOBS).evolve(ack_policy=AckPolicy.ALL))
    wanted = r"consumer telemetry-jobs, which has ack_policy=all, not explicit.*remove its store"
    with pytest.raises(Misprovisioned, match=wanted):
        await provision(server.url)


async def test_what_it_says_of_a_stream_that_nats_does_not_change_helps(
    guarded_nats: NatsServer, folder: Path
) -> None:
    """On a server with users, of whom none may remove anything."""
    settings = settings_of("provision", folder, nats_url=guarded_nats.url)
    client = await connect(settings, "provision")
    await client.jetstream().add_stream(stream_config(DLQ).evolve(storage=StorageType.MEMORY))
    await client.close()
    with pytest.raises(Misprovisioned, match=r"stop nats-server, remove its store \(`data/nats/jetstream`"):
        await provision_streams(settings)
    guarded_nats.stop()
    shutil.rmtree(guarded_nats.folder / "store" / "jetstream")
    guarded_nats.start()
    assert "stream DLQ made" in await provision_streams(settings)


async def test_a_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tunedeck_chassis.provisioning.CONNECT_SECONDS", 0.3)
    with pytest.raises(Misprovisioned, match=r"NATS at nats://127\.0\.0\.1:1 cannot be reached"):
        await provision("nats://127.0.0.1:1")
