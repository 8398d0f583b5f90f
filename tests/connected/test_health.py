"""`GET /api/health`: 200 with what is installed, or 503 that names what is away."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.answering import answering
from tests.support.servers import MongoServer, NatsServer, provision
from tunedeck_contracts.health import Health
from tunedeck_contracts.rpc import health_check
from tunedeck_gateway.app import create_app
from tunedeck_gateway.routes.health import SERVICES
from tunedeck_gateway.settings import GatewaySettings

pytestmark = pytest.mark.connected

MONITOR_PORT = 8001


@asynccontextmanager
async def gateway(nats_url: str, mongo_url: str, *answers: Health) -> AsyncIterator[httpx.AsyncClient]:
    """The whole gateway, and services that answer so."""
    await provision(nats_url)
    apps = create_app(GatewaySettings(nats_url=nats_url, mongo_url=mongo_url), MONITOR_PORT)
    async with AsyncExitStack() as stack:
        for health in answers:
            await stack.enter_async_context(answering(nats_url, health_check(health.service), health))
        await stack.enter_async_context(apps.main.router.lifespan_context(apps.main))
        transport = httpx.ASGITransport(apps)
        yield await stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000")
        )


def well(service: str) -> Health:
    packages = {"pandas": version("pandas")} if service == "catalog" else {}
    return Health(service=service, status="healthy", packages=packages)


def unwell_parts(body: dict[str, Any]) -> dict[str, list[str]]:
    parts = {**body["services"], **body["servers"]}
    return {name: part["problems"] for name, part in parts.items() if part["status"] == "unhealthy"}


async def answer_of(client: httpx.AsyncClient, parts: set[str]) -> httpx.Response:
    """The first answer that names these parts alone as unwell."""
    async with asyncio.timeout(30):
        while True:
            answer = await client.get("/api/health")
            if set(unwell_parts(answer.json())) == parts:
                return answer


async def until(client: httpx.AsyncClient, true: Callable[[set[str]], bool]) -> set[str]:
    """What is unwell, once it is as wanted."""
    async with asyncio.timeout(30):
        while True:
            unwell = set(unwell_parts((await client.get("/api/health")).json()))
            if true(unwell):
                return unwell


async def test_with_everything_there_it_is_200_on_both_ports(nats_url: str, mongo_url: str) -> None:
    async with gateway(nats_url, mongo_url, *map(well, SERVICES)) as client:
        answer = await answer_of(client, set())
        assert (answer.status_code, answer.json()["status"]) == (200, "healthy")
        assert answer.json()["dependencies"] == {"pandas": version("pandas"), "fastapi": version("fastapi")}
        monitor = await client.get(f"http://127.0.0.1:{MONITOR_PORT}/api/health")
        assert (monitor.status_code, monitor.json()["service"]) == (200, "Training Monitor API")


async def test_a_service_that_is_away_or_unwell_is_named(nats_url: str, mongo_url: str) -> None:
    ill = Health(service="jobs", status="unhealthy", problems=["MongoDB has no primary yet."])
    async with gateway(nats_url, mongo_url, well("catalog"), ill, well("telemetry")) as client:
        answer = await answer_of(client, {"jobs", "trainer"})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json()["detail"] == "Not healthy: jobs, trainer."
        assert (answer.json()["status_code"], answer.json()["error_type"]) == (503, "Unavailable")
        found = unwell_parts(answer.json())
        assert found["jobs"] == ["MongoDB has no primary yet."]
        assert "did not answer" in found["trainer"][0]


async def test_servers_that_are_away_are_named(tmp_path: Path) -> None:
    nats, mongod = NatsServer(tmp_path / "nats"), MongoServer(tmp_path / "mongo")
    nats.start()
    mongod.start()
    try:
        async with gateway(nats.url, mongod.url, *map(well, SERVICES)) as client:
            mongod.kill()
            assert (await answer_of(client, {"mongodb"})).status_code == 503
            nats.kill()
            unwell = await until(client, lambda parts: "nats" in parts)
            assert unwell == {*SERVICES, "nats", "mongodb"}
            # In this event loop the gateway runs, and one that stands still for long ends its process.
            await asyncio.to_thread(nats.start)
            await asyncio.to_thread(mongod.start)
            await until(client, lambda parts: not parts)
    finally:
        nats.stop()
        mongod.stop()


async def test_a_service_stops_in_order_while_nats_is_away(tmp_path: Path, mongo_url: str) -> None:
    nats = NatsServer(tmp_path)
    nats.start()
    try:
        async with gateway(nats.url, mongo_url) as client:
            nats.kill()
            await until(client, lambda parts: "nats" in parts)
    finally:
        nats.stop()
