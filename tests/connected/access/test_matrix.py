"""Every route of both APIs for every identity: a route without a row here fails."""

import asyncio
import re
from datetime import timedelta

import httpx
import pytest
import websockets

from tests.connected.access.conftest import RunningGateway, bearer
from tunedeck_contracts.message import utc_now
from tunedeck_gateway.access.keys import Scope
from tunedeck_gateway.app import create_app
from tunedeck_gateway.settings import GatewaySettings

PUBLIC, READ, WRITE, ADMIN = "public", "read", "write", "admin"
NEEDED = {
    "GET /": PUBLIC,
    "GET /api/health": PUBLIC,
    "GET /api/models": READ,
    "GET /api/models/search": READ,
    "POST /api/models": WRITE,
    "GET /api/models/check/{model_id}": READ,
    "GET /api/models/{model_id}": READ,
    "DELETE /api/models/{model_id}": WRITE,
    "GET /api/datasets": READ,
    "POST /api/datasets": WRITE,
    "GET /api/datasets/{uid}": READ,
    "PATCH /api/datasets/{uid}": WRITE,
    "DELETE /api/datasets/{uid}": WRITE,
    "GET /api/datasets/{uid}/rows": READ,
    "GET /api/datasets/{uid}/download": READ,
    "GET /api/datasets/{uid}/tokens": READ,
    "POST /api/preview-csv": WRITE,
    "GET /api/hyperparameters": READ,
    "POST /api/hyperparameters": WRITE,
    "GET /api/hyperparameters/best": READ,
    "GET /api/hyperparameters/{uid}": READ,
    "GET /api/metadata": READ,
    "POST /api/metadata": WRITE,
    "GET /api/job-configuration": READ,
    "GET /api/jobs": READ,
    "POST /api/jobs": WRITE,
    "POST /api/jobs/estimate": WRITE,
    "GET /api/jobs/current": READ,
    "GET /api/jobs/past": READ,
    "GET /api/jobs/statistics": READ,
    "GET /api/jobs/export": READ,
    "POST /api/jobs/compare": READ,
    "GET /api/jobs/{uid}": READ,
    "PATCH /api/jobs/{uid}": WRITE,
    "DELETE /api/jobs/{uid}": WRITE,
    "POST /api/jobs/{uid}/start": WRITE,
    "POST /api/jobs/{uid}/pause": WRITE,
    "POST /api/jobs/{uid}/resume": WRITE,
    "POST /api/jobs/{uid}/cancel": WRITE,
    "POST /api/jobs/{uid}/retry": WRITE,
    "POST /api/jobs/{uid}/push": WRITE,
    "GET /api/jobs/{uid}/preview": READ,
    "GET /api/jobs/{uid}/events": READ,
    "GET /api/jobs/{uid}/checkpoints": READ,
    "POST /api/jobs/{uid}/generate": WRITE,
    "GET /api/jobs/{uid}/logs": READ,
    "GET /api/jobs/{uid}/artifacts/{path}": READ,
    "GET /api/training/losses": READ,
    "GET /api/training/losses/current": READ,
    "GET /api/training/resources": READ,
    "GET /api/training/resources/current": READ,
    "GET /api/training/status/{job_id}": READ,
    "GET /api/training/summary": READ,
    "GET /api/training/mode": READ,
    "POST /api/training/mode/{mode}": WRITE,
    "GET /api/keys": ADMIN,
    "POST /api/keys": ADMIN,
    "DELETE /api/keys/{key_id}": ADMIN,
    "POST /api/ws-ticket": READ,
}
LEVEL = {PUBLIC: 0, READ: 1, WRITE: 2, ADMIN: 3}
HELD = {"anonymous": 0, "expired": 0, "revoked": 0, "unknown": 0, READ: 1, WRITE: 2, ADMIN: 3}

MOST_AT_ONCE = 30


def routes(port: str) -> set[str]:
    """The routes of one port's document."""
    document = getattr(create_app(GatewaySettings(), monitor_port=8001), port).openapi()
    return {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}


async def identities(gateway: RunningGateway) -> dict[str, dict[str, str]]:
    """The headers that each identity sends."""
    tokens = {one.value: (await gateway.keys.create(one.value, one, None))[1] for one in Scope}
    _, tokens["expired"] = await gateway.keys.create("expired", Scope.ADMIN, utc_now() - timedelta(seconds=1))
    key, tokens["revoked"] = await gateway.keys.create("revoked", Scope.ADMIN, None)
    await gateway.keys.revoke(key.id)
    tokens["unknown"] = "ftk_000000000000_" + "A" * 43
    return {"anonymous": {}, **{name: bearer(token) for name, token in tokens.items()}}


def allowed_answer(needed: str, identity: str) -> str:
    """What an identity gets: 'in' is any answer of the route itself."""
    if LEVEL[needed] == 0:
        return "in"
    if HELD[identity] == 0:
        return "401"
    return "in" if HELD[identity] >= LEVEL[needed] else "403"


async def answer_to(
    client: httpx.AsyncClient, turn: asyncio.Semaphore, route: str, headers: dict[str, str], wanted: str
) -> str:
    """Knock without a body that would do anything; whether one is let in shows before what is behind."""
    method, path = route.split(" ")
    target = re.sub(r"\{[a-z_]+\}", "x", path)
    try:
        async with turn:
            answer = await client.request(
                method, target, headers=headers, timeout=httpx.Timeout(20, read=0.5 if wanted == "in" else 20)
            )
    except httpx.ReadTimeout:
        # It was let in, and waits for a service, of which none runs here.
        return "in"
    if answer.status_code in (401, 403):
        assert answer.json()["status_code"] == answer.status_code
        assert ("WWW-Authenticate" in answer.headers) == (answer.status_code == 401)
        return str(answer.status_code)
    assert answer.status_code != 500, answer.text
    return "in"


@pytest.mark.parametrize("port", ["main", "monitor"])
async def test_every_route_for_every_identity(gateway: RunningGateway, port: str) -> None:
    known = routes(port)
    assert known - NEEDED.keys() == set(), "a new route needs a row"
    assert port == "monitor" or NEEDED.keys() - known == set(), "a row has no route any more"
    client: httpx.AsyncClient = getattr(gateway, port)
    cells = [
        (route, name, headers)
        for route in sorted(known)
        for name, headers in (await identities(gateway)).items()
    ]
    wanted = [allowed_answer(NEEDED[route], name) for route, name, _ in cells]
    turn = asyncio.Semaphore(MOST_AT_ONCE)
    answers = await asyncio.gather(
        *(
            answer_to(client, turn, route, headers, one)
            for (route, _, headers), one in zip(cells, wanted, strict=True)
        )
    )
    wrong = [
        f"{route} as {name}: {got}, not {one}"
        for (route, name, _), got, one in zip(cells, answers, wanted, strict=True)
        if got != one
    ]
    assert wrong == []


async def test_what_is_no_route_is_told_only_to_who_has_a_key(gateway: RunningGateway) -> None:
    assert (await gateway.main.get("/api/nothing")).status_code == 401
    _, token = await gateway.keys.create("reads", Scope.READ, None)
    assert (await gateway.main.get("/api/nothing", headers=bearer(token))).status_code == 404


@pytest.mark.parametrize(
    "path", ["/api/keys%0A", "/api/keys/%0A", "/api/keys%0D", "/api//keys", "/api/keys%2F"]
)
async def test_no_spelling_of_a_path_gets_around_its_rule(gateway: RunningGateway, path: str) -> None:
    _, token = await gateway.keys.create("writes", Scope.WRITE, None)
    made = await gateway.main.post(
        path, json={"name": "x", "scope": "admin"}, headers=bearer(token), follow_redirects=True
    )
    assert made.status_code in (403, 404)
    assert [key.name for key in await gateway.keys.all()] == ["writes"]


async def test_the_documents_are_public(gateway: RunningGateway) -> None:
    for client in (gateway.main, gateway.monitor):
        for path in ("/docs", "/openapi.json"):
            assert (await client.get(path)).status_code == 200


async def test_the_live_stream_for_every_identity(gateway: RunningGateway) -> None:
    for name, headers in (await identities(gateway)).items():
        url = f"{gateway.stream_url}/a.b"
        async with websockets.connect(url, additional_headers=headers) as socket:
            await socket.wait_closed()
        # 4404, no such job, is the stream's own answer.
        assert socket.close_code == (4404 if HELD[name] else 4401), name
