"""API keys: shown once, kept as a hash, ended within the time that they are believed."""

import asyncio
import hashlib
from pathlib import Path

import pytest
import websockets
from pymongo.errors import AutoReconnect

from tests.connected.access.conftest import NO_POINTS, RunningGateway, StartGateway, bearer, until
from tests.support.answering import answering
from tests.support.servers import MongoServer
from tunedeck_chassis import mongo
from tunedeck_contracts import rpc
from tunedeck_gateway.access import keys
from tunedeck_gateway.access.keys import Scope
from tunedeck_gateway.access.repository import KeyRepository
from tunedeck_gateway.settings import GatewaySettings


async def admin_of(gateway: RunningGateway) -> dict[str, str]:
    return bearer((await gateway.keys.create("admin", Scope.ADMIN, None))[1])


async def test_a_key_made_over_http_is_shown_once_and_kept_as_a_hash(
    gateway: RunningGateway, mongo_url: str
) -> None:
    admin = await admin_of(gateway)
    wanted = {"name": "CI", "scope": "read", "expiresInDays": 30}
    made = await gateway.main.post("/api/keys", json=wanted, headers=admin)
    assert made.status_code == 201, made.text
    token = made.json()["key"]
    listed = (await gateway.main.get("/api/keys", headers=admin)).text
    secret = token.split("_", 2)[2]
    assert secret not in listed and made.json()["id"] in listed
    client = mongo.connect(GatewaySettings(mongo_url=mongo_url))
    names = [name for name in await client.list_database_names() if name.startswith("gateway_")]
    stored = [await client[name]["keys"].find_one({"_id": made.json()["id"]}) for name in names]
    await client.close()
    found = next(one for one in stored if one)
    assert found["secret_sha256"] == hashlib.sha256(secret.encode()).hexdigest()
    assert secret not in str(found)


async def test_a_revoked_key_is_refused_by_every_gateway_once_it_is_no_longer_believed(
    start: StartGateway,
) -> None:
    first, second = await start(), await start()
    key, token = await first.keys.create("leaves", Scope.READ, None)
    for gateway in (first, second):
        assert (await gateway.main.get("/api/keys", headers=bearer(token))).status_code == 403
    admin = await admin_of(first)
    assert (await first.main.delete(f"/api/keys/{key.id}", headers=admin)).json()["revokedAt"]

    async def is_refused() -> bool:
        return (await second.main.get("/api/keys", headers=bearer(token))).status_code == 401

    await until(is_refused)
    again = await first.main.delete(f"/api/keys/{key.id}", headers=admin)
    assert again.status_code == 200
    assert (await first.main.delete("/api/keys/000000000000", headers=admin)).status_code == 404


async def test_the_settings_cannot_believe_a_key_for_longer_than_30_seconds() -> None:
    assert GatewaySettings().key_cache_seconds <= 30
    with pytest.raises(ValueError, match="key_cache_seconds"):
        GatewaySettings(key_cache_seconds=31)


async def test_use_is_noted(gateway: RunningGateway) -> None:
    key, token = await gateway.keys.create("used", Scope.READ, None)
    await gateway.main.get("/api/keys", headers=bearer(token))
    assert next(one for one in await gateway.keys.all() if one.id == key.id).last_used_at is not None


async def test_another_secret_with_a_known_id_is_refused(gateway: RunningGateway) -> None:
    key, _ = await gateway.keys.create("guessed", Scope.READ, None)
    answer = await gateway.main.get("/api/keys", headers=bearer(f"ftk_{key.id}_{'A' * 43}"))
    assert (answer.status_code, answer.json()["error_type"]) == (401, "Unauthorized")


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer x", "Basic dTpw", "ftk_1_2", "Bearer ftk_\xe9_x"])
async def test_what_is_no_key_is_refused(gateway: RunningGateway, value: str) -> None:
    headers = [(b"authorization", value.encode("latin-1"))]
    assert (await gateway.main.get("/api/jobs", headers=headers)).status_code == 401


async def test_an_open_stream_is_closed_when_its_key_ends(start: StartGateway, nats_url: str) -> None:
    gateway = await start(stream_check_seconds=0.2)
    key, token = await gateway.keys.create("leaves", Scope.READ, None)
    url = f"{gateway.stream_url}/job_1"
    async with (
        answering(nats_url, rpc.HISTORY_GET, NO_POINTS),
        websockets.connect(url, additional_headers=bearer(token)) as socket,
    ):
        await gateway.keys.revoke(key.id)
        await socket.wait_closed()
    assert socket.close_code == 1008


async def test_without_mongodb_known_keys_work_and_others_get_503(
    start: StartGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_LONGEST_UNREAD_SECONDS", 120)
    mongod = MongoServer(tmp_path)
    mongod.start()
    gateway = await start(mongo_url=mongod.url)
    _, known = await gateway.keys.create("known", Scope.READ, None)
    _, other = await gateway.keys.create("other", Scope.READ, None)
    assert (await gateway.main.get("/api/keys", headers=bearer(known))).status_code == 403
    mongod.stop()
    assert (await gateway.main.get("/api/keys", headers=bearer(known), timeout=30)).status_code == 403
    away = await gateway.main.get("/api/jobs", headers=bearer(other), timeout=30)
    assert away.status_code == 503 and "MongoDB" in away.json()["detail"]
    assert away.headers["Retry-After"]


async def test_off_on_loopback_a_sent_token_is_ignored(start: StartGateway) -> None:
    gateway = await start(auth="auto")
    assert (await gateway.main.get("/api/keys", headers=bearer("token"))).status_code == 200


async def test_a_key_is_believed_without_a_look_while_mongodb_is_known_to_be_away(
    start: StartGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mongod = MongoServer(tmp_path)
    mongod.start()
    gateway = await start(mongo_url=mongod.url, key_cache_seconds=0)
    admin = await admin_of(gateway)
    assert (await gateway.main.get("/api/nothing", headers=admin)).status_code == 404
    mongod.stop()
    looks = []

    async def used(*_: object) -> None:
        looks.append(True)
        raise AutoReconnect("It is away.")

    async def is_believed() -> bool:
        looks.clear()
        answer = await gateway.main.get("/api/nothing", headers=admin, timeout=30)
        return answer.status_code == 404 and not looks

    monkeypatch.setattr(KeyRepository, "used", used)
    async with asyncio.timeout(20):
        while not await is_believed():
            await asyncio.sleep(0.1)
