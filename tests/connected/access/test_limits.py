"""Limits: exact over several gateways, with what a client needs to wait rightly."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
import websockets
from pymongo.errors import AutoReconnect

from tests.connected.access.conftest import NO_POINTS, StartGateway, bearer
from tests.support.answering import answering
from tests.support.servers import MongoServer
from tunedeck_contracts import rpc
from tunedeck_gateway.access import limits
from tunedeck_gateway.access.keys import Scope
from tunedeck_gateway.app import is_on as switched_on
from tunedeck_gateway.settings import GatewaySettings

NO_FILE = {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}
"""Counted as a file, and refused at once: its type names no boundary."""


@pytest.fixture(autouse=True)
def counts_take_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy mongod is no reason to count alone."""
    monkeypatch.setattr(limits, "_COUNT_SECONDS", 30)


async def statuses(client: httpx.AsyncClient, count: int, path: str, **request: object) -> Counter[int]:
    answers = await asyncio.gather(*(client.get(path, **request) for _ in range(count)))  # type: ignore[arg-type]
    return Counter(answer.status_code for answer in answers)


async def test_three_gateways_count_together_and_exactly(start: StartGateway) -> None:
    gateways = [await start(auth="off", limits="on", request_limit="30/hour") for _ in range(3)]
    counted = await asyncio.gather(*(statuses(one.main, 20, "/api/keys") for one in gateways))
    assert sum(counted, Counter()) == {200: 30, 429: 30}


async def test_who_is_over_the_limit_learns_when_to_come_again(start: StartGateway) -> None:
    gateway = await start(auth="off", limits="on", request_limit="1/hour")
    first = await gateway.main.get("/api/keys")
    assert first.headers["RateLimit-Limit"] == "1" and first.headers["RateLimit-Remaining"] == "0"
    second = await gateway.main.get("/api/keys")
    assert (second.status_code, second.json()["error_type"]) == (429, "TooManyRequests")
    assert 3590 <= int(second.headers["Retry-After"]) <= 3600
    assert second.headers["RateLimit-Reset"] == second.headers["Retry-After"]


async def test_a_window_ends(start: StartGateway) -> None:
    gateway = await start(auth="off", limits="on", request_limit="1 per 5 second")
    assert (await statuses(gateway.main, 2, "/api/keys"))[429] == 1
    async with asyncio.timeout(30):
        while (await gateway.main.get("/api/keys")).status_code == 429:
            await asyncio.sleep(0.1)


async def test_without_mongodb_a_gateway_counts_alone(
    start: StartGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mongod = MongoServer(tmp_path)
    mongod.start()
    gateway = await start(mongo_url=mongod.url, auth="off", limits="on", request_limit="2/hour")
    assert (await gateway.main.get("/api/nothing")).headers["RateLimit-Remaining"] == "1"
    mongod.stop()
    monkeypatch.setattr(limits, "_COUNT_SECONDS", 1)
    assert await statuses(gateway.main, 3, "/api/nothing", timeout=30) == {404: 2, 429: 1}


async def test_nobody_waits_to_be_counted_by_a_mongodb_that_is_known_to_be_away(
    start: StartGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_ALONE_SECONDS", 0)
    mongod = MongoServer(tmp_path)
    mongod.start()
    gateway = await start(mongo_url=mongod.url, auth="off", limits="on", request_limit="1000/hour")
    assert (await gateway.main.get("/api/nothing")).status_code == 404
    mongod.stop()
    asked = []

    async def incr(*_: object, **__: object) -> int:
        asked.append(True)
        raise AutoReconnect("It is away.")

    async def is_known() -> bool:
        asked.clear()
        answer = await gateway.main.get("/api/nothing", timeout=30)
        return answer.status_code == 404 and not asked

    monkeypatch.setattr(limits.Counters, "incr", incr)
    async with asyncio.timeout(30):
        while not await is_known():
            await asyncio.sleep(0.1)


async def test_each_key_has_its_own_count(start: StartGateway) -> None:
    gateway = await start(limits="on", request_limit="2/hour")
    for name in ("one", "two"):
        _, token = await gateway.keys.create(name, Scope.ADMIN, None)
        assert await statuses(gateway.main, 3, "/api/keys", headers=bearer(token)) == {200: 2, 429: 1}


async def test_files_are_counted_apart(start: StartGateway) -> None:
    gateway = await start(auth="off", limits="on", upload_limit="2/hour", request_limit="1/hour")
    sent = [(await gateway.main.post("/api/datasets", **NO_FILE)).status_code for _ in range(3)]
    assert sent == [415, 415, 429]
    assert (await gateway.main.get("/api/keys")).status_code == 200


async def test_an_address_is_believed_from_a_trusted_proxy_only(start: StartGateway) -> None:
    gateway = await start(auth="off", limits="on", request_limit="1/hour")
    forged = [{"X-Forwarded-For": f"10.0.0.{n}"} for n in range(2)]
    codes = [(await gateway.main.get("/api/keys", headers=one)).status_code for one in forged]
    assert codes == [200, 429]


async def test_made_up_keys_are_soon_not_looked_up(start: StartGateway) -> None:
    gateway = await start(limits="on", refused_limit="3/hour")
    _, good = await gateway.keys.create("good", Scope.ADMIN, None)
    assert (await gateway.main.get("/api/keys", headers=bearer(good))).status_code == 200
    made_up = [bearer(f"ftk_{n:012x}_{'A' * 43}") for n in range(5)]
    codes = [(await gateway.main.get("/api/keys", headers=one)).status_code for one in made_up]
    assert codes == [401, 401, 401, 429, 429]
    assert (await gateway.main.get("/api/keys", headers=bearer(good))).status_code == 200


async def test_streams_at_once_are_limited(start: StartGateway, nats_url: str) -> None:
    gateway = await start(auth="off", limits="on", stream_limit=2)
    async with answering(nats_url, rpc.HISTORY_GET, NO_POINTS), AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(websockets.connect(f"{gateway.stream_url}/job_1"))
        one_more = await stack.enter_async_context(websockets.connect(f"{gateway.stream_url}/job_1"))
        await one_more.wait_closed()
        assert one_more.close_code == 4429
    async with websockets.connect(f"{gateway.stream_url}/a.b") as freed:
        await freed.wait_closed()
    assert freed.close_code == 4404


async def test_health_and_documents_are_not_counted(start: StartGateway) -> None:
    gateway = await start(auth="off", limits="on", request_limit="1/hour")
    assert set(await statuses(gateway.main, 3, "/")) == {200}
    assert set(await statuses(gateway.main, 3, "/openapi.json")) == {200}


@pytest.mark.parametrize(("host", "is_on"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_the_figures_are_api_mds_and_on_only_off_loopback(host: str, is_on: bool) -> None:
    settings = GatewaySettings(host=host)
    assert (settings.search_limit, settings.upload_limit) == ("100/minute", "10/hour")
    assert settings.request_limit == "1000/hour"
    assert switched_on(settings.limits, settings) is switched_on(settings.auth, settings) is is_on
