"""Presets of hyperparameters over HTTP, NATS and MongoDB."""

from typing import Any

import httpx
import pytest

from tunedeck_contracts.hyperparameters import Hyperparameters, decode_uid, encode_uid

pytestmark = pytest.mark.connected

PRESETS = "/api/hyperparameters"


async def listed(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    answer = await client.get(PRESETS)
    assert answer.status_code == 200
    presets: list[dict[str, Any]] = answer.json()["presets"]
    return presets


async def save(client: httpx.AsyncClient, name: str, **settings: Any) -> dict[str, Any]:
    answer = await client.post(PRESETS, json={"name": name, "hyperparameters": settings})
    assert answer.status_code == 201, answer.text
    saved: dict[str, Any] = answer.json()
    return saved


async def test_a_new_installation_has_presets_that_say_what_they_are_for(client: httpx.AsyncClient) -> None:
    presets = await listed(client)
    assert len(presets) >= 3
    assert all(one["builtIn"] and one["name"] and one["description"] for one in presets)
    for one in presets:
        assert one["hyperparameters"] == Hyperparameters.model_validate(one["hyperparameters"]).model_dump()
        assert decode_uid(one["uid"]) == Hyperparameters.model_validate(one["hyperparameters"])
    assert Hyperparameters().model_dump() in [one["hyperparameters"] for one in presets]


async def test_what_is_saved_is_listed_after_the_built_in_ones(client: httpx.AsyncClient) -> None:
    built_in = await listed(client)
    first = await save(client, "First", epochs=2)
    second = await save(client, "Second", epochs=2)
    assert first["uid"] == second["uid"] == encode_uid(Hyperparameters(epochs=2))
    assert first["hyperparameters"]["batch_size"] == 8
    assert await listed(client) == [*built_in, second, first]
    assert (await client.get(f"{PRESETS}/{first['uid']}")).json() == first


async def test_a_name_that_was_saved_before_gets_the_new_settings(client: httpx.AsyncClient) -> None:
    await save(client, "Mine", epochs=2)
    anew = await save(client, "Mine", epochs=4)
    assert [one for one in await listed(client) if not one["builtIn"]] == [anew]


async def test_fields_win_over_a_uid_and_the_uid_stands_for_the_rest(client: httpx.AsyncClient) -> None:
    uid = encode_uid(Hyperparameters(epochs=7, batch_size=2))
    saved = await save(client, "Mine", uid=uid, batch_size=8)
    assert (saved["hyperparameters"]["epochs"], saved["hyperparameters"]["batch_size"]) == (7, 8)
    shown = (await client.get(PRESETS)).json()["presets"][-1]
    again = await save(client, "Again", uid=shown["uid"], **shown["hyperparameters"])
    assert again["uid"] == saved["uid"]


async def test_a_uid_that_nobody_saved_is_decoded(client: httpx.AsyncClient) -> None:
    uid = encode_uid(Hyperparameters(seed=123))
    shown = (await client.get(f"{PRESETS}/{uid}")).json()
    assert (shown["uid"], shown["name"], shown["builtIn"], shown["savedAt"]) == (uid, None, False, None)
    assert shown["hyperparameters"] == Hyperparameters(seed=123).model_dump()


@pytest.mark.parametrize("uid", ["010000rk00rl000500060001000a000g002s", "hp1zz", "%2E%2E", "a%00b"])
async def test_a_foreign_uid_is_not_found(client: httpx.AsyncClient, uid: str) -> None:
    answer = await client.get(f"{PRESETS}/{uid}")
    assert (answer.status_code, answer.json()["error_type"]) == (404, "NotFound")


async def test_a_foreign_uid_cannot_be_saved(client: httpx.AsyncClient) -> None:
    answer = await client.post(PRESETS, json={"name": "x", "hyperparameters": {"uid": "config-123"}})
    assert answer.status_code == 404
    assert answer.json()["errors"][0]["loc"] == "hyperparameters.uid"


async def test_a_built_in_name_is_taken(client: httpx.AsyncClient) -> None:
    name = (await listed(client))[0]["name"]
    answer = await client.post(PRESETS, json={"name": name, "hyperparameters": {}})
    assert (answer.status_code, name in answer.json()["detail"]) == (409, True)


async def test_every_problem_is_reported_at_once_with_its_path(client: httpx.AsyncClient) -> None:
    wrong = {"learning_rate": 2, "epochs": 0, "optimizer": "adam"}
    answer = await client.post(PRESETS, json={"name": "", "hyperparameters": wrong})
    assert answer.status_code == 422
    assert {problem["loc"] for problem in answer.json()["errors"]} == {
        "name",
        "hyperparameters.learning_rate",
        "hyperparameters.epochs",
        "hyperparameters.optimizer",
    }
