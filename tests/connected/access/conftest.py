"""Gateways that ask for keys, each with both ports open, over a real NATS and a real MongoDB."""

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest

from tests.support.servers import provision
from tunedeck_chassis import mongo
from tunedeck_contracts.jobs import Status
from tunedeck_contracts.telemetry import History
from tunedeck_gateway.access.keys import Keys
from tunedeck_gateway.access.repository import KeyRepository
from tunedeck_gateway.server import build_server
from tunedeck_gateway.settings import GatewaySettings


@dataclass(frozen=True)
class RunningGateway:
    """One gateway; `keys` makes keys in its database, as `tunedeck keys` does."""

    main: httpx.AsyncClient
    monitor: httpx.AsyncClient
    keys: Keys

    @property
    def stream_url(self) -> str:
        """Where the live streams are, without the job."""
        return f"ws://{self.monitor.base_url.netloc.decode()}/ws/training"


StartGateway = Callable[..., Awaitable[RunningGateway]]


def _client(port: int) -> httpx.AsyncClient:
    many = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=many, timeout=30)


@asynccontextmanager
async def _running(settings: GatewaySettings) -> AsyncIterator[RunningGateway]:
    main, monitor = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    ports = [one.getsockname()[1] for one in (main, monitor)]
    settings = settings.model_copy(update={"port": ports[0]})
    server = build_server(settings, main, monitor)
    serving = asyncio.create_task(server.serve(sockets=[main, monitor]))
    async with asyncio.timeout(30):
        while not server.started:
            await asyncio.sleep(0.01)
    client = mongo.connect(settings)
    keys = Keys(KeyRepository(client, settings.gateway_database), 0)
    async with _client(ports[0]) as to_main, _client(ports[1]) as to_monitor:
        yield RunningGateway(to_main, to_monitor, keys)
    await client.close()
    server.should_exit = True
    await serving


@pytest.fixture
async def start(nats_url: str, mongo_url: str) -> AsyncIterator[StartGateway]:
    """Starts a gateway with these settings beside `auth=on`; those of one test share a database."""
    await provision(nats_url)
    database = f"gateway_{uuid.uuid4().hex[:8]}"
    async with AsyncExitStack() as stack:

        async def started(**given: object) -> RunningGateway:
            usual = {"nats_url": nats_url, "mongo_url": mongo_url, "auth": "on", "key_cache_seconds": 0.2}
            settings = GatewaySettings.model_validate({**usual, "gateway_database": database, **given})
            return await stack.enter_async_context(_running(settings))

        yield started
    client = mongo.connect(GatewaySettings(mongo_url=mongo_url))
    await client.drop_database(database)
    await client.close()


@pytest.fixture
async def gateway(start: StartGateway) -> RunningGateway:
    """One gateway that asks for keys."""
    return await start()


NO_POINTS = History(
    job_id="job_1",
    status=Status.RUNNING,
    training_mode="manual",
    fence=1,
    total=1,
    last_iteration=None,
    points=[],
    more=False,
)
"""Of a job whose stream stays open."""


def bearer(token: str) -> dict[str, str]:
    """The header that brings a key."""
    return {"Authorization": f"Bearer {token}"}


async def until(true: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(seconds):
        while not await true():
            await asyncio.sleep(0.05)
