"""The first batch of a job over all processes: before it starts, and as its run then read it."""

import time

import httpx
import pytest

from tests.e2e.api import Api, ended, rows_csv

# Each of its three starts of torch takes a minute on a machine with much else to do.
pytestmark = pytest.mark.timeout(900)

SLOW_MACHINE = 300
SETTINGS = {"max_steps": 1, "batch_size": 3, "eval_steps": 1, "validation_rows": 4, "save_steps": 1}


def test_what_a_run_reads_first_is_shown_before_it_starts(api: Api) -> None:
    uid = created(api, "local/tiny")
    before = preview(api, uid)
    assert before.status_code == 200, before.text
    told = before.json()
    assert (told["template"], told["train_rows"], told["validation_rows"]) == ("chat_template", 36, 4)
    assert (told["truncated_rows"], told["untrainable_rows"], told["tokens_left_out"]) == (0, 0, 0)
    for row in told["rows"]:
        trained = "".join(token["text"] for token in row["tokens"] if token["trained"])
        asked = row["row"] - 1
        assert trained == f"It is {2 * asked}; thank you for asking.<|im_end|>"
        assert f"user\nWhat is {asked} plus {asked}?" in "".join(token["text"] for token in row["tokens"])

    assert api.main.post(f"/api/jobs/{uid}/start").status_code == 200
    job = api.wait(uid, ended, SLOW_MACHINE)
    assert job["status"] == "completed", job["failure"]
    first = api.monitor.get("/api/training/losses", params={"job_id": uid}).json()[0]
    assert first["tokens"] == sum(row["token_count"] for row in told["rows"])
    assert first["batch_size"] == len(told["rows"]) == 3
    assert any(line["text"].startswith(told["form"]) for line in job["log"])
    assert preview(api, uid).json() == told


def test_a_job_whose_model_is_not_known_has_none_and_says_why(api: Api) -> None:
    uid = created(api, "local/nothing")
    refused = preview(api, uid)
    assert (refused.status_code, refused.json()["error_type"]) == (409, "Conflict")
    problems = api.job(uid)["problems"]
    assert [one["message"] for one in refused.json()["errors"]] == problems
    assert problems[0] in refused.json()["detail"]
    assert api.main.get("/api/jobs/job_1_none/preview").status_code == 404


def preview(api: Api, uid: str) -> httpx.Response:
    """What a client gets that asks again where it is told to."""
    deadline = time.monotonic() + SLOW_MACHINE
    while True:
        answer = api.main.get(f"/api/jobs/{uid}/preview", timeout=SLOW_MACHINE)
        if answer.status_code != 503 or time.monotonic() > deadline:
            return answer


def created(api: Api, model: str) -> str:
    """A job that does not start by itself."""
    upload = api.preview(rows_csv(40)).json()["upload_id"]
    return str(api.create_job(upload, model, start=False, **SETTINGS)["jobUid"])
