"""Models over HTTP, and a job whose model only the Hub has."""

from pathlib import Path

import pytest

from tests.conftest import HUB_MODEL, TINY_MODEL
from tests.e2e.api import Api, ended, rows_csv
from tests.support.hub_models import files_of
from tests.support.hub_server import HubServer

STEPS = 4


@pytest.mark.parametrize("model_id", ["slash-test/gpt-2", "slash-test%2Fgpt-2", "no-owner"])
def test_a_models_way_through_the_collection(api: Api, model_id: str) -> None:
    plain = model_id.replace("%2F", "/")
    added = api.main.post("/api/models", json={"id": plain, "name": "Test GPT-2", "recommended": True})
    assert added.status_code == 201, added.text
    assert added.json()["model"]["recommended"] is False
    assert api.main.get(f"/api/models/{model_id}").json() == added.json()["model"]
    check = api.main.get(f"/api/models/check/{model_id}")
    assert (check.status_code, check.json()) == (200, {"exists": True, "model_id": plain})
    removed = api.main.delete(f"/api/models/{model_id}")
    assert removed.status_code == 200, removed.text
    assert removed.json() == {"success": True, "message": f"Successfully removed model '{plain}'"}
    check = api.main.get(f"/api/models/check/{model_id}")
    assert (check.status_code, check.json()) == (200, {"exists": False, "model_id": plain})
    for answer in (api.main.get(f"/api/models/{model_id}"), api.main.delete(f"/api/models/{model_id}")):
        assert (answer.status_code, answer.json()["error_type"]) == (404, "NotFound")


@pytest.mark.parametrize(
    "model_id", ["..%2F..%2Fetc", "%2Fetc", "http:%2F%2Fhub%2Fmodel", "a%2Fb%2Fc", "a..b"]
)
def test_a_path_is_no_model_id(api: Api, model_id: str) -> None:
    for answer in (
        api.main.get(f"/api/models/{model_id}"),
        api.main.get(f"/api/models/check/{model_id}"),
        api.main.delete(f"/api/models/{model_id}"),
    ):
        assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, "id"), answer.text


def test_a_search_result_is_added_as_it_is(api: Api) -> None:
    found = api.main.get("/api/models/search", params={"query": "tiny-gpt2"}).json()
    assert [one["id"] for one in found] == [HUB_MODEL]
    added = api.main.post("/api/models", json=found[0])
    assert added.status_code in (201, 409), added.text
    model = api.main.get(f"/api/models/{HUB_MODEL}").json()
    assert (model["contextLength"], model["license"], model["gated"]) == (512, "mit", False)
    assert not {"downloads", "likes"} & set(model)


def test_a_job_trains_the_pinned_commit_of_a_model_that_only_the_hub_has(
    api: Api, hub: HubServer, models_dir: Path
) -> None:
    model = hub.add("hub-only/moving", files_of(models_dir / TINY_MODEL))
    pinned = model.main
    upload = api.preview(rows_csv(40)).json()["upload_id"]
    before = api.create_job(upload, max_steps=5000, batch_size=2, eval_steps=5000, validation_rows=4)
    created = api.create_job(upload, model=model.id, max_steps=STEPS, batch_size=4)
    assert created["job"]["status"] == "queued", created["job"]["problems"]
    # The trainer is busy: by the time it asks, main is at a commit that nobody can train.
    model.commit({"config.json": b"{}", "model.safetensors": b"broken"})
    assert api.main.post(f"/api/jobs/{before['jobUid']}/cancel").status_code == 200
    job = api.wait(created["jobUid"], ended, 180)
    assert job["status"] == "completed", job["failure"]
    files = [request for request in hub.requests if f"/{model.id}/resolve/" in request]
    assert files
    assert all(f"/resolve/{pinned}/" in request for request in files), files


def test_a_model_of_pickled_weights_alone_is_refused_with_the_reason(api: Api, hub: HubServer) -> None:
    hub.add("hub-only/pickled", {"config.json": b"{}", "pytorch_model.bin": b"pickle"})
    upload = api.preview(rows_csv(4)).json()["upload_id"]
    job = api.create_job(upload, model="hub-only/pickled")["job"]
    assert (job["status"], len(job["problems"])) == ("created", 1)
    assert "'hub-only/pickled' has no safetensors weights" in job["problems"][0]
