"""NATS away: who reads sees nothing of a restart; a longer outage is told soon, whatever the time limit."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.servers import NatsServer, provision
from tunedeck_chassis import bus, link
from tunedeck_chassis.broker import create_broker, request_handler
from tunedeck_chassis.bus import Bus
from tunedeck_chassis.requests import Router
from tunedeck_chassis.service import started
from tunedeck_chassis.settings import ServiceSettings
from tunedeck_contracts.errors import Unavailable
from tunedeck_contracts.message import Message
from tunedeck_contracts.rpc import Rpc

LONG = 60.0


class Ask(Message):
    text: str


class Probe:
    """A bus and, at the other end of the same server, a service; what it answers first is lost."""

    def __init__(self, server: NatsServer, bus: Bus) -> None:
        self.server = server
        self.bus = bus
        self.asked = asyncio.Event()
        self.ending = asyncio.Event()
        self.count = 0

    async def answer(self, message: Ask) -> Ask:
        self.count += 1
        self.asked.set()
        if self.count == 1:
            await self.ending.wait()
        return message


def rpc(verb: str) -> Rpc[Ask, Ask]:
    return Rpc("probe", f"text{uuid.uuid4().hex[:8]}", verb, Ask, Ask, timeout=LONG)


READ, WRITE = rpc("get"), rpc("create")


@pytest.fixture
async def probe(tmp_path: Path) -> AsyncIterator[Probe]:
    server = NatsServer(tmp_path)
    server.start()
    await provision(server.url)
    settings, router = ServiceSettings(nats_url=server.url), Router()
    asking, answering = create_broker(settings, "asking"), create_broker(settings, "probe")
    found = Probe(server, Bus(asking))
    for one in (READ, WRITE):
        request_handler(router, one)(found.answer)
    answering.include_router(router)
    async with started(asking), started(answering):
        yield found
        found.ending.set()
        for bus in (found.bus, Bus(answering)):
            await until_connected(bus, True)
    server.stop()


@asynccontextmanager
async def without_nats(probe: Probe) -> AsyncIterator[None]:
    """Kill the server, and start it again afterwards."""
    await asyncio.to_thread(probe.server.kill)
    try:
        await until_connected(probe.bus, False)
        yield
    finally:
        await asyncio.to_thread(probe.server.start)


async def until_connected(bus: Bus, wanted: bool) -> None:
    """Wait until the client has noticed."""
    async with asyncio.timeout(20):
        while bus.is_connected is not wanted:
            await asyncio.sleep(0.01)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restart may take its time."""
    monkeypatch.setattr(link, "BRIDGED_SECONDS", LONG / 2)
    monkeypatch.setattr(link, "BRIDGED_WRITE_SECONDS", LONG / 2)


async def test_a_read_on_its_way_outlives_a_restart(probe: Probe, patient: None) -> None:
    reading = asyncio.create_task(probe.bus.request(READ, Ask(text="x")))
    await probe.asked.wait()
    async with without_nats(probe):
        pass
    assert (await asyncio.wait_for(reading, LONG / 2)).text == "x"


async def test_a_read_that_begins_without_nats_waits_for_a_restart(probe: Probe, patient: None) -> None:
    probe.count = 1
    async with without_nats(probe):
        reading = asyncio.create_task(probe.bus.request(READ, Ask(text="x")))
    assert (await asyncio.wait_for(reading, LONG / 2)).text == "x"


async def test_a_write_on_its_way_is_not_sent_twice(probe: Probe, patient: None) -> None:
    writing = asyncio.create_task(probe.bus.request(WRITE, Ask(text="x"), timeout=10))
    await probe.asked.wait()
    async with without_nats(probe):
        pass
    with pytest.raises(Unavailable, match="did not answer within 10 s"):
        await writing
    assert probe.count == 1


@pytest.mark.parametrize("asked", [READ, WRITE], ids=["read", "write"])
async def test_a_longer_outage_is_told_long_before_the_time_limit(probe: Probe, asked: Rpc[Ask, Ask]) -> None:
    on_its_way = asyncio.create_task(probe.bus.request(asked, Ask(text="x")))
    await probe.asked.wait()
    async with without_nats(probe):
        with pytest.raises(Unavailable, match="NATS"):
            await asyncio.wait_for(on_its_way, LONG / 2)
        # From now on nothing that would take time is waited for: some turns of the event loop are enough.
        late = asyncio.create_task(probe.bus.request(asked, Ask(text="x")))
        for _ in range(20):
            await asyncio.sleep(0)
        assert late.done()
        with pytest.raises(Unavailable, match="NATS cannot be reached"):
            late.result()


async def test_a_service_that_is_away_is_told_at_once_and_asked_again_when_it_is_back(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = Rpc("nobody", "text", "get", Ask, Ask, timeout=LONG)
    monkeypatch.setattr(bus, "ABSENCE_SECONDS", 0.3)
    with pytest.raises(Unavailable, match="nobody service is away"):
        await asyncio.wait_for(probe.bus.forward(nobody, Ask(text="x").to_json()), LONG / 2)
    # The absence is known now: a single question is enough to see that it lasts.
    monkeypatch.setattr(bus, "_RETRY_WAIT", LONG)
    with pytest.raises(Unavailable, match="nobody service is away"):
        await asyncio.wait_for(probe.bus.forward(nobody, Ask(text="x").to_json()), LONG / 2)
    monkeypatch.setattr(bus, "_RETRY_WAIT", 0.1)
    probe.count = 1
    asked = asyncio.create_task(probe.bus.request(nobody, Ask(text="x")))
    await asyncio.sleep(0)
    async with answering_for(probe.server, nobody, probe.answer):
        assert (await asyncio.wait_for(asked, LONG / 2)).text == "x", "a service waits for another's restart"
        assert json.loads((await probe.bus.forward(nobody, Ask(text="x").to_json())).body) == {"text": "x"}


@asynccontextmanager
async def answering_for(
    server: NatsServer, asked: Rpc[Ask, Ask], answer: Callable[[Ask], Awaitable[Ask]]
) -> AsyncIterator[None]:
    """A service that answers this request."""
    router = Router()
    request_handler(router, asked)(answer)
    broker = create_broker(ServiceSettings(nats_url=server.url), "nobody")
    broker.include_router(router)
    async with started(broker):
        yield
