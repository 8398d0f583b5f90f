"""The catalog for the tests of this folder, and the gateway before it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import uvicorn

from tests.support.catalog_service import RunningCatalog, catalog_service
from tunedeck_gateway.app import create_app
from tunedeck_gateway.settings import GatewaySettings


@pytest.fixture
async def running(nats_url: str, mongo_url: str, tmp_path: Path) -> AsyncIterator[RunningCatalog]:
    """With a database of its own."""
    async with catalog_service(nats_url, mongo_url, tmp_path / "models") as found:
        yield found


@pytest.fixture
async def http(running: RunningCatalog, nats_url: str, mongo_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway that takes files of up to 4 MiB."""
    settings = GatewaySettings(nats_url=nats_url, mongo_url=mongo_url, max_upload_bytes=4 * 1024 * 1024)
    listener = socket.create_server(("127.0.0.1", 0))
    app = create_app(settings, monitor_port=1)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    async with asyncio.timeout(30):
        while not server.started:
            await asyncio.sleep(0.01)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        yield client
    server.should_exit = True
    await serving
