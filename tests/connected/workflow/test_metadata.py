"""The workflow session over HTTP, NATS and MongoDB."""

import asyncio
import re
from typing import Any

import httpx
import pytest

from tests.connected.workflow.conftest import LOCAL_MODEL
from tests.support.hub_server import HubServer
from tests.support.small_models import model_files
from tunedeck_contracts.hyperparameters import Hyperparameters, encode_uid
from tunedeck_contracts.jobs import CreateJob
from tunedeck_jobs.hyperparameter_choice import choose

pytestmark = pytest.mark.connected

UNSET = {"dataset": None, "model": None, "hyperparameters": None}
LISTED_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
HUB_MODEL = "someone/for-the-workflow"


async def shown(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.get("/api/metadata")
    assert answer.status_code == 200, answer.text
    metadata: dict[str, Any] = answer.json()
    return metadata


async def merge(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await client.post("/api/metadata", json=changes)
    assert answer.status_code == 200, answer.text
    metadata: dict[str, Any] = answer.json()
    return metadata


async def configuration(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.get("/api/job-configuration")
    assert answer.status_code == 200, answer.text
    resolved: dict[str, Any] = answer.json()
    return resolved


async def test_an_installation_has_one_session_whoever_asks_first(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(shown(client) for _ in range(10)))
    assert all(answer == answers[0] for answer in answers)
    session = answers[0].pop("finetuningSession")
    assert answers[0] == UNSET
    assert re.fullmatch(r"session_\d{13}", session["id"])
    assert session["status"] == "created"
    assert session["createdAt"] == session["lastModified"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", session["createdAt"])


async def test_selections_are_looked_up_and_the_status_tells_how_far_they_are(
    client: httpx.AsyncClient, dataset_uid: str
) -> None:
    before = (await shown(client))["finetuningSession"]
    selected = await merge(client, dataset={"uid": "sums"})
    assert selected["finetuningSession"]["status"] == "dataset_selected"
    assert selected["dataset"].keys() == {"uid", "name", "selectedAt"}
    assert (selected["dataset"]["uid"], selected["dataset"]["name"]) == (dataset_uid, "Sums")

    selected = await merge(client, model={"baseModel": LISTED_MODEL})
    assert selected["finetuningSession"]["status"] == "model_selected"
    model = selected["model"]
    assert model.keys() == {"uid", "baseModel", "modelName", "provider"}
    assert (model["uid"], model["baseModel"], model["provider"]) == (
        LISTED_MODEL,
        LISTED_MODEL,
        "Hugging Face",
    )

    selected = await merge(client, hyperparameters={"epochs": 2})
    assert selected["finetuningSession"]["status"] == "hyperparameters_configured"
    assert selected["hyperparameters"] == {"uid": encode_uid(Hyperparameters(epochs=2))}
    assert selected["finetuningSession"]["id"] == before["id"]
    assert selected["finetuningSession"]["createdAt"] == before["createdAt"]
    assert selected["finetuningSession"]["lastModified"] > before["lastModified"]
    assert await shown(client) == selected


async def test_null_clears_a_selection_and_an_absent_key_keeps_it(
    client: httpx.AsyncClient, dataset_uid: str
) -> None:
    await merge(client, dataset={"uid": dataset_uid}, model={"uid": LOCAL_MODEL}, hyperparameters={})
    cleared = await merge(client, model=None, hyperparameters=None)
    assert (cleared["model"], cleared["hyperparameters"]) == (None, None)
    assert cleared["dataset"]["uid"] == dataset_uid
    assert cleared["finetuningSession"]["status"] == "dataset_selected"
    assert await merge(client) == cleared


async def test_what_was_shown_can_be_sent_back(client: httpx.AsyncClient, dataset_uid: str) -> None:
    first = await merge(
        client, dataset={"uid": dataset_uid}, model={"uid": LOCAL_MODEL}, hyperparameters={"lora_r": 4}
    )
    forged = {**first["finetuningSession"], "id": "session_1", "status": "created"}
    again = await merge(client, **{**first, "finetuningSession": forged})
    for changing in (first, again):
        changing["dataset"].pop("selectedAt")
        changing["finetuningSession"].pop("lastModified")
    assert again == first


async def test_a_model_that_only_the_folder_or_the_hub_has_can_be_selected(
    client: httpx.AsyncClient, hub: HubServer
) -> None:
    hub.add(HUB_MODEL, model_files(max_position_embeddings=512))
    for model_id, provider in ((LOCAL_MODEL, "Local"), (HUB_MODEL, "someone")):
        model = (await merge(client, model={"uid": model_id}))["model"]
        assert (model["uid"], model["baseModel"], model["provider"]) == (model_id, model_id, provider)


async def test_what_is_not_known_is_refused_with_every_path_and_nothing_is_stored(
    client: httpx.AsyncClient, dataset_uid: str
) -> None:
    before = await merge(client, dataset={"uid": dataset_uid})
    unknown = {
        "dataset": {"uid": "no-such-dataset"},
        "model": {"uid": "../../etc"},
        "hyperparameters": {"uid": "010000rk00rl000500060001000a000g002s"},
    }
    answer = await client.post("/api/metadata", json=unknown)
    assert (answer.status_code, answer.json()["error_type"]) == (404, "NotFound")
    problems = {problem["loc"]: problem["message"] for problem in answer.json()["errors"]}
    assert problems.keys() == {"dataset.uid", "model.uid", "hyperparameters.uid"}
    assert all(named["uid"] in problems[f"{key}.uid"] for key, named in unknown.items())

    for partly in ({"model": {"uid": LOCAL_MODEL}, "dataset": unknown["dataset"]}, {"model": {"uid": "a/b"}}):
        assert (await client.post("/api/metadata", json=partly)).status_code == 404
    assert await shown(client) == before


async def test_wrong_settings_are_refused_with_every_path(client: httpx.AsyncClient) -> None:
    body = {"hyperparameters": {"epochs": 0, "lora_r": 1000}, "model": {}}
    answer = await client.post("/api/metadata", json=body)
    assert answer.status_code == 422
    paths = {problem["loc"] for problem in answer.json()["errors"]}
    assert paths >= {"hyperparameters.epochs", "hyperparameters.lora_r"}
    assert any(path.startswith("model") for path in paths)
    assert {key: (await shown(client))[key] for key in UNSET} == UNSET


async def test_merges_of_different_keys_at_once_all_survive(
    client: httpx.AsyncClient, dataset_uid: str
) -> None:
    for _ in range(10):
        await merge(client, **UNSET)
        await asyncio.gather(
            merge(client, dataset={"uid": dataset_uid}),
            merge(client, model={"uid": LOCAL_MODEL}),
            merge(client, hyperparameters={"epochs": 2}),
        )
        selected = await shown(client)
        assert None not in selected.values(), selected


async def test_without_selections_a_configuration_says_what_is_missing(client: httpx.AsyncClient) -> None:
    resolved = await configuration(client)
    assert (resolved["ready"], resolved["dataset"], resolved["model"]) == (False, None, None)
    assert [problem.partition(":")[0] for problem in resolved["problems"]] == ["dataset", "model"]
    assert resolved["configuration"]["hyperparameters"]["uid"] == encode_uid(Hyperparameters())


async def test_a_configuration_has_the_records_and_can_be_posted_as_a_jobs(
    client: httpx.AsyncClient, dataset_uid: str
) -> None:
    added = await client.post("/api/models", json={"id": LOCAL_MODEL, "name": "Mine"})
    assert added.status_code == 201
    settings = Hyperparameters(epochs=2, method="full")
    await merge(
        client,
        dataset={"uid": dataset_uid},
        model={"uid": LOCAL_MODEL},
        hyperparameters={"uid": encode_uid(settings)},
    )
    resolved = await configuration(client)
    assert (resolved["ready"], resolved["problems"]) == (True, [])
    assert (resolved["dataset"]["uid"], resolved["dataset"]["rows"]) == (dataset_uid, 3)
    assert (resolved["model"]["id"], resolved["model"]["contextLength"]) == (LOCAL_MODEL, 512)

    job = CreateJob.model_validate({"name": "From here", "configuration": resolved["configuration"]})
    assert (job.configuration.model.uid, job.configuration.model.name) == (LOCAL_MODEL, "Mine")
    assert (job.configuration.dataset.uid, job.configuration.dataset.name) == (dataset_uid, "Sums")
    chosen, problems = choose(job.configuration.hyperparameters)
    assert (chosen.uid, problems) == (encode_uid(settings), [])
    assert chosen.model_dump(exclude={"uid"}) == settings.model_dump()


async def test_a_selection_that_is_gone_or_cannot_be_trained_is_a_problem(
    client: httpx.AsyncClient, dataset_uid: str, hub: HubServer
) -> None:
    hub.add(HUB_MODEL, model_files(max_position_embeddings=512))
    await merge(
        client,
        dataset={"uid": dataset_uid},
        model={"uid": HUB_MODEL},
        hyperparameters={"method": "full", "lora_r": 4},
    )
    with hub.away():
        resolved = await configuration(client)
    assert (resolved["ready"], resolved["model"]) == (False, None)
    assert resolved["configuration"]["model"]["uid"] == HUB_MODEL
    assert [problem.partition(":")[0] for problem in resolved["problems"]] == ["model", "lora_r"]
    assert (await configuration(client))["ready"] is True
