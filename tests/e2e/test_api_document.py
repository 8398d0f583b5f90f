"""docs/api.md is the test: every request in it is sent as written, every answer has its example's shape."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.conftest import HUB_MODEL
from tests.e2e.api import Api, rows_csv
from tests.support.api_document import (
    Operation,
    differences,
    example,
    operation,
    operations,
    section,
    sections,
    status_codes,
)

DOCUMENTED_JOB = "job_1751559451590_15c0ef2a"
MODEL = operation("POST /api/models").body
CREATED = {"POST /api/models", "POST /api/jobs"}
STANDARD = example(section("Standard Error Response Format").block("json"))

SAID: dict[str, list[str]] = {
    # What an answer says word for word, by the path of its keys.
    "GET /": ["message", "status"],
    "GET /api/health": ["status", "service", "version", "endpoints.preview", "endpoints.health"],
    "GET /api/models": ["categories.0", "providers.0"],
    "POST /api/models": ["success", "model.id", "model.name", "message"],
    "DELETE /api/models/{model_id}": ["success", "message"],
    "GET /api/models/check/{model_id}": ["exists", "model_id"],
    "POST /api/preview-csv": ["filename", "columns.0", "columns.1", "validation_errors"],
    "POST /api/jobs": ["success", "message", "job.name"],
    "GET /api/jobs/{uid}": ["status"],
    "GET /api/metadata": ["finetuningSession.status"],
    "GET /api/training/status/{job_id}": ["status"],
    "GET /api/training/summary": ["training_mode", "is_completed"],
    "GET /api/training/mode": ["mode", "is_completed"],
    "POST /api/training/mode/{mode}": ["message", "mode", "reset"],
}


@pytest.fixture(scope="module")
def running(api: Api) -> Iterator[str]:
    """A job that trains while the requests are sent, and a session that has everything selected."""
    upload = api.preview(rows_csv(60)).json()["upload_id"]
    saved = api.main.post("/api/datasets", json={"upload_id": upload, "name": "Documented"}).json()
    created = api.create_job(saved["uid"], max_steps=20_000, batch_size=2, eval_steps=5000, validation_rows=4)
    uid: str = created["jobUid"]
    selected = {
        "dataset": {"uid": saved["uid"]},
        "model": {"uid": HUB_MODEL},
        "hyperparameters": {"uid": created["job"]["configuration"]["hyperparameters"]["uid"]},
    }
    merged = api.main.post("/api/metadata", json=selected)
    assert merged.status_code == 200, merged.text
    api.wait(uid, lambda job: "live_metrics" in job, 90)
    api.until(lambda: api.monitor.get("/api/training/summary").status_code == 200, 30)
    yield uid
    api.main.post(f"/api/jobs/{uid}/cancel")


@pytest.fixture(autouse=True)
def as_before(api: Api) -> Iterator[None]:
    """Each request finds what the document takes for granted."""
    api.main.delete("/api/models/test-model%2Fgpt-2")
    yield
    api.monitor.post("/api/training/mode/manual")


def client_of(api: Api, one: Operation) -> httpx.Client:
    return api.monitor if "/training/" in one.path else api.main


def send(api: Api, one: Operation, job: str) -> httpx.Response:
    """The request as the document has it, but for the job's uid and, for an upload, the file."""
    if one.name in ("DELETE /api/models/{model_id}", "GET /api/models/check/{model_id}"):
        assert api.main.post("/api/models", json=MODEL).status_code == 201
    if one.name == "GET /api/health":
        return api.health(client_of(api, one))
    if one.content_type == "multipart/form-data":
        return api.preview(rows_csv(30), "dataset.csv")
    target = one.target.replace(DOCUMENTED_JOB, job)
    return client_of(api, one).request(one.method, target, json=one.body)


@pytest.mark.parametrize("one", operations(), ids=lambda one: one.name)
def test_the_request_is_answered_as_documented(api: Api, running: str, one: Operation) -> None:
    answer = send(api, one, running)
    assert answer.status_code == (201 if one.name in CREATED else 200), answer.text
    assert list(differences(documented(one), answer.json())) == []
    for path in SAID.get(one.name, []):
        assert (path, at(path, answer.json())) == (path, at(path, one.example))


def documented(one: Operation) -> Any:
    """The example; what it leaves to a remark or does not show at all has the shape of another example."""
    whole_job = operation("GET /api/jobs").example["jobs"][0]
    if one.name in ("GET /api/jobs/current", "GET /api/jobs/past"):
        return {**operation("GET /api/jobs").example, "jobs": []}
    if one.name == "GET /api/training/resources/current":
        return operation("GET /api/training/resources").example[0]
    if one.name == "POST /api/models":
        return {**one.example, "model": operation("GET /api/models").example["models"][0]}
    if one.name == "POST /api/jobs":
        return {**one.example, "job": whole_job}
    if one.name == "GET /api/jobs/{uid}":
        return {**whole_job, **one.example}
    return one.example


def at(path: str, value: Any) -> Any:
    for key in path.split("."):
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


def test_current_and_past_part_the_jobs(api: Api, running: str) -> None:
    shape = operation("GET /api/jobs").example["jobs"][0]
    past = api.create_job("no-such-dataset")["jobUid"]
    api.main.post(f"/api/jobs/{past}/cancel")
    for path, uid, statuses in (
        ("/api/jobs/current", running, ("created", "queued", "running", "paused")),
        ("/api/jobs/past", past, ("completed", "failed", "cancelled")),
    ):
        jobs = api.main.get(path).json()["jobs"]
        assert list(differences([shape], jobs)) == []
        assert uid in [job["uid"] for job in jobs]
        assert {job["status"] for job in jobs} <= set(statuses)


@pytest.mark.parametrize("one", [one for one in operations() if one.parameters], ids=lambda one: one.name)
def test_the_parameters_are_the_documented_ones(api: Api, one: Operation) -> None:
    described = client_of(api, one).get("/openapi.json").json()["paths"][one.path][one.method.lower()]
    found = {parameter["name"]: parameter for parameter in described["parameters"]}
    for parameter in one.parameters:
        assert found[parameter.name]["required"] == parameter.is_required
        assert found[parameter.name]["schema"].get("default") == parameter.default


def test_the_parameters_do_what_they_say(api: Api, running: str) -> None:
    def found(**query: Any) -> Any:
        return api.main.get("/api/models/search", params=query)

    assert found().status_code == found(query="g").status_code == 422
    assert len(found(query="gp", limit=1).json()) == 1
    api.until(lambda: len(api.monitor.get("/api/training/losses").json()) == 20, 30)
    assert len(api.monitor.get("/api/training/losses?last_n=2").json()) == 2
    assert len(api.monitor.get("/api/training/resources?last_n=1").json()) == 1
    assert api.monitor.post("/api/training/mode/other").status_code == 422


def test_each_request_leads_to_what_it_says(api: Api, running: str) -> None:
    """Shapes alone would be passed by answers that invent: the same facts, asked in two ways."""
    assert api.main.get("/api/models/check/test-model%2Fgpt-2").json()["exists"] is False
    assert api.main.post("/api/models", json=MODEL).json()["model"]["tags"] == MODEL["tags"]
    assert api.main.get("/api/models/check/test-model/gpt-2").json()["exists"] is True
    assert MODEL["id"] in [one["id"] for one in api.main.get("/api/models").json()["models"]]
    statistics = api.main.get("/api/jobs/statistics").json()
    everything = api.main.get("/api/jobs").json()
    assert statistics["total"] == everything["total"] == len(everything["jobs"])
    assert statistics["current"]["total"] == everything["current_count"]
    assert statistics["past"]["total"] == everything["past_count"]
    assert api.monitor.post("/api/training/mode/automated").json()["mode"] == "automated"
    assert api.monitor.get("/api/training/mode").json()["mode"] == "automated"


def test_the_stream_sends_the_documented_message(api: Api, running: str) -> None:
    message = example(section("WebSocket `/ws/training/{job_id}`").block("json"))
    frame = api.first_frame(running)
    assert list(differences(message, frame)) == []
    assert frame["job_id"] == running


def model_already_exists(api: Api) -> httpx.Response:
    api.main.post("/api/models", json={"id": "gpt2"})
    return api.main.post("/api/models", json={"id": "gpt2"})


def csv_validation_error(api: Api) -> httpx.Response:
    return api.preview(b"prompt,output\na,b\n")


def file_too_large(api: Api) -> httpx.Response:
    return api.preview(b"input,output\n" + b"a,b\n" * (52_428_800 // 4))


def training_data_not_available(api: Api) -> httpx.Response:
    uid = api.create_job("no-such-dataset")["jobUid"]
    return api.monitor.get("/api/training/summary", params={"job_id": uid})


ERRORS: dict[str, Callable[[Api], httpx.Response]] = {
    "Model Already Exists": model_already_exists,
    "CSV Validation Error": csv_validation_error,
    "File Too Large": file_too_large,
    "Training Data Not Available": training_data_not_available,
}


@pytest.mark.parametrize("title", ERRORS)
def test_the_error_is_the_documented_one(api: Api, title: str) -> None:
    body = example(section(title).block("json"))
    answer = ERRORS[title](api)
    assert answer.status_code == body["status_code"]
    assert list(differences(STANDARD, answer.json())) == []
    assert {key: answer.json()[key] for key in body} == body


def test_every_error_scenario_of_the_document_has_a_test() -> None:
    titles = [one.title for one in sections()]
    first, last = titles.index("Common Error Scenarios") + 1, titles.index("📊 Rate Limiting")
    assert titles[first:last] == list(ERRORS)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/jobs/job_0_none", 404),
        ("GET", "/api/nothing-here", 404),
        ("GET", "/api/training/status/job_0_none", 404),
        ("DELETE", "/api/models/no/such-model", 404),
        ("GET", "/api/training/losses?last_n=none", 422),
        ("POST", "/api/jobs", 422),
    ],
)
def test_errors_have_the_standard_form(api: Api, method: str, path: str, status: int) -> None:
    answer = api.main.request(method, path)
    assert status in status_codes()
    assert (answer.status_code, answer.json()["status_code"]) == (status, status)
    assert list(differences(STANDARD, answer.json())) == []
