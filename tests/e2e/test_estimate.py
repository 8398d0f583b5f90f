"""What a job will take: before it is there, before its first step, and at its end, over all processes."""

import time
from typing import Any

import httpx
import pytest

from tests.e2e.api import Api, ended, rows_csv

# Each of its starts of torch takes a minute on a machine with much else to do.
pytestmark = pytest.mark.timeout(900)

SLOW_MACHINE = 300
STEPS = 3
SETTINGS = {"max_steps": STEPS, "batch_size": 4, "eval_steps": STEPS, "validation_rows": 4}
FIGURES = ("seconds", "peakMemoryBytes", "tokens")


def configuration(dataset: str, model: str = "local/tiny", **settings: Any) -> dict[str, Any]:
    return {
        "model": {"uid": model},
        "dataset": {"uid": dataset},
        "hyperparameters": {**SETTINGS, **settings},
    }


def estimate(api: Api, body: dict[str, Any]) -> httpx.Response:
    """What a client gets that asks again where it is told to."""
    deadline = time.monotonic() + SLOW_MACHINE
    while True:
        answer = api.main.post("/api/jobs/estimate", json=body, timeout=SLOW_MACHINE)
        if answer.status_code != 503 or time.monotonic() > deadline:
            return answer
        time.sleep(1)


@pytest.fixture(scope="module")
def dataset(api: Api) -> str:
    upload = api.preview(rows_csv(41)).json()["upload_id"]
    saved = api.main.post("/api/datasets", json={"upload_id": upload, "name": "Estimated"})
    return str(saved.json()["uid"])


def test_a_job_is_quoted_before_it_is_there_and_held_to_it_after(api: Api, dataset: str) -> None:
    total = api.main.get("/api/jobs/statistics").json()["total"]
    asked = {"configuration": configuration(dataset)}
    answer = estimate(api, {"name": "Not read", **asked})
    assert answer.status_code == 200, answer.text
    quote = answer.json()
    for figure in FIGURES:
        assert 0 < quote[figure]["low"] <= quote[figure]["expected"] <= quote[figure]["high"], figure
    assert (quote["device"], quote["energyWattHours"]) == ("cpu", None)
    assert api.main.get("/api/jobs/statistics").json()["total"] == total

    created = api.main.post("/api/jobs", json={"name": "Quoted", **asked})
    job = api.wait(created.json()["jobUid"], ended, SLOW_MACHINE)
    assert job["status"] == "completed", job["failure"]
    predicted, actual = job["estimate"]["predicted"], job["estimate"]["actual"]
    assert predicted["tokens"] == quote["tokens"], "the same rows in the same order"
    assert actual["seconds"] == job["result"]["seconds"]
    assert actual["peakMemoryBytes"] == job["result"]["peakMemoryBytes"]
    # A machine that does something else for half a minute is no error of the estimate.
    for figure, slack, more in (("seconds", 5, 30), ("peakMemoryBytes", 1.5, 0)):
        low, high = predicted[figure]["low"] / slack, predicted[figure]["high"] * slack + more
        assert low <= actual[figure] <= high, (figure, predicted[figure])
    assert job["batchSplit"] is None
    told = api.main.get(f"/api/jobs/{job['uid']}/events").json()["events"]
    assert "adjusted" not in [one["type"] for one in told]


@pytest.mark.parametrize(
    ("changed", "status", "says"),
    [
        ({"model": "local/none"}, 409, "local/none"),
        ({"learning_rate": 7}, 422, "learning_rate"),
    ],
)
def test_what_cannot_be_trained_is_not_quoted(
    api: Api, dataset: str, changed: dict[str, Any], status: int, says: str
) -> None:
    asked = {"configuration": configuration(dataset, **changed)}
    answer = estimate(api, asked)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["detail"]


def test_a_job_that_no_trainer_can_train_is_refused_unless_it_waits(api: Api, dataset: str) -> None:
    asked = {"name": "In 4 bits", "configuration": configuration(dataset, method="qlora")}
    refused = api.main.post("/api/jobs", json=asked)
    assert refused.status_code == 409, refused.text
    assert "needs a CUDA GPU, and no trainer that was heard of today has one" in refused.json()["detail"]
    assert estimate(api, asked).json()["detail"] == refused.json()["detail"]
    waits = api.main.post("/api/jobs", json={**asked, "device": "gpu"})
    assert waits.status_code == 201, waits.text
    assert waits.json()["job"]["status"] == "queued"
    api.main.post(f"/api/jobs/{waits.json()['jobUid']}/cancel")
