"""Bad input gets a clear error, in the one form that errors have, and nothing is lost."""

import httpx
import pytest

from tests.e2e.api import Api, rows_csv
from tests.support.hub_server import HubServer


def assert_error(answer: httpx.Response, status: int, says: str) -> None:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert says in body["detail"]
    assert body["status_code"] == status and body["error_type"]


def test_a_file_that_is_no_csv(api: Api) -> None:
    assert_error(api.preview(b"\x89PNG\r\n\x1a\n\x00\x00"), 400, "Failed to parse CSV file")


def test_a_missing_column_is_named_and_can_be_mapped_without_sending_the_file_again(api: Api) -> None:
    refused = api.preview(b"question,output\nWhy?,Because of it.\nHow?,Like this.\n")
    assert_error(refused, 400, "Missing required 'input' column")
    body = refused.json()
    assert body["columns"] == ["question", "output"]
    mapped = api.main.post(
        "/api/preview-csv",
        json={"upload_id": body["upload_id"], "input_column": "question", "output_column": "output"},
    )
    assert mapped.status_code == 200, mapped.text
    saved = api.main.post("/api/datasets", json={"upload_id": body["upload_id"], "name": "Mapped"})
    assert saved.status_code == 201, saved.text
    assert saved.json()["rows"] == 2


def test_a_file_over_the_limit_is_refused(api: Api) -> None:
    answer = api.preview(b"input,output\n" + b"x" * 52_428_800)
    assert_error(answer, 413, "File size exceeds maximum allowed size of 52428800 bytes")


def test_a_request_without_a_file(api: Api) -> None:
    assert_error(api.main.post("/api/preview-csv", files={"other": b"x"}), 400, "no file")
    assert_error(api.main.post("/api/preview-csv", content=b"x"), 415, "multipart/form-data")


def test_an_unknown_model_and_dataset_leave_the_job_created_with_what_is_missing(api: Api) -> None:
    created = api.create_job("test-dataset", model="local/absent")
    assert created["job"]["status"] == "created"
    assert len(created["job"]["problems"]) == 2


@pytest.mark.parametrize("uid", ["job_123", "%3E", "*", "a.b"])
def test_an_unknown_job_is_not_found(api: Api, uid: str) -> None:
    for path in (f"/api/jobs/{uid}", f"/api/training/status/{uid}", f"/api/jobs/{uid}/logs"):
        assert_error(api.main.get(path), 404, "There is no job")


def test_the_stream_of_an_unknown_job_closes_with_4404(api: Api) -> None:
    assert api.stream("job_123") == ([], 4404)


def test_wrong_hyperparameters_are_all_named(api: Api) -> None:
    upload = api.preview(rows_csv(4)).json()["upload_id"]
    answer = api.main.post(
        "/api/jobs",
        json={
            "name": "Wrong",
            "configuration": {
                "model": {"uid": "local/tiny"},
                "dataset": {"uid": upload},
                "hyperparameters": {"learning_rate": "fast", "epochs": -1},
            },
        },
    )
    assert_error(answer, 422, "learning_rate")
    assert len(answer.json()["errors"]) == 2


def test_a_body_of_the_wrong_shape(api: Api) -> None:
    assert_error(api.main.post("/api/jobs", json={"name": ""}), 422, "not valid")
    assert_error(api.main.post("/api/jobs", content=b"{"), 422, "not valid")


def test_what_is_not_there_answers_404_in_the_same_form(api: Api) -> None:
    assert_error(api.main.get("/api/nothing"), 404, "/docs")


def test_the_hubs_search_says_why_it_cannot_answer(api: Api, hub: HubServer) -> None:
    with hub.away():
        answer = api.main.get("/api/models/search", params={"query": "not asked before"})
    assert_error(answer, 503, "The Hugging Face Hub cannot be reached")
    assert answer.headers["Retry-After"]


def test_a_model_is_added_once(api: Api) -> None:
    model = {"id": "test-model/gpt-2", "name": "Test GPT-2", "provider": "Test", "parameters": "117M"}
    first = api.main.post("/api/models", json=model)
    assert first.status_code == 201, first.text
    assert first.json()["message"] == "Successfully added 'Test GPT-2' to your collection"
    assert_error(api.main.post("/api/models", json=model), 409, "already exists in your collection")
    assert "test-model/gpt-2" in [one["id"] for one in api.main.get("/api/models").json()["models"]]


def test_both_ports_are_well(api: Api) -> None:
    for client in (api.main, api.monitor):
        health = api.health(client)
        assert health.status_code == 200, health.text
        assert health.json()["status"] == "healthy"
        assert client.get("/").json()["name"] == "Tunedeck"
        assert client.get("/docs").status_code == 200
