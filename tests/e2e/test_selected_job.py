"""From the workflow session to a whole tuned model, by a run that ends early: all say the same length."""

from typing import Any

import pytest

from tests.conftest import TINY_MODEL
from tests.e2e.api import Api, ended, rows_csv

# Its job loads torch, which takes its time where other things run.
pytestmark = pytest.mark.timeout(600)

MOST_STEPS = 40
SETTINGS = {
    "method": "full",
    "optimizer": "sgd",
    "learning_rate": 1.0,
    "max_grad_norm": 1000,
    "scheduler": "constant",
    "max_steps": MOST_STEPS,
    "batch_size": 4,
    "eval_steps": 2,
    "early_stopping_patience": 1,
    "save_steps": 5,
}


@pytest.fixture(scope="module")
def finished(api: Api) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A job of the session's selections, with every frame of its live stream."""
    upload_id = api.preview(rows_csv(60)).json()["upload_id"]
    dataset = api.main.post("/api/datasets", json={"upload_id": upload_id, "name": "Selected rows"}).json()
    preset = api.main.post("/api/hyperparameters", json={"name": "Far too fast", "hyperparameters": SETTINGS})
    assert preset.status_code == 201, preset.text
    selections = {
        "dataset": {"uid": dataset["uid"]},
        "model": {"uid": TINY_MODEL},
        "hyperparameters": {"uid": preset.json()["uid"]},
    }
    merged = api.main.post("/api/metadata", json=selections)
    assert merged.json()["finetuningSession"]["status"] == "hyperparameters_configured", merged.text
    proposed = api.main.get("/api/job-configuration").json()
    assert proposed["ready"] is True, proposed
    created = api.main.post(
        "/api/jobs", json={"name": "Selected", "configuration": proposed["configuration"]}
    )
    assert created.status_code == 201, created.text
    job = created.json()["job"]
    assert job["configuration"]["hyperparameters"] == proposed["configuration"]["hyperparameters"]
    assert job["problems"] == proposed["problems"]
    assert job["problems"] == []
    frames, _ = api.stream(job["uid"])
    return api.wait(job["uid"], ended, 60), frames


def test_a_run_that_ends_early_is_complete_wherever_it_is_shown(api: Api, finished: Any) -> None:
    job, frames = finished
    assert job["status"] == "completed", job["failure"]
    last = frames[-1]["iteration"]
    assert last < MOST_STEPS
    assert (frames[-1]["is_completed"], frames[-1]["total"]) == (True, last)
    assert [frame["iteration"] for frame in frames[:-1]] == list(range(1, last + 1))
    training = job["training"]
    assert (training["progress"], training["currentStep"], training["totalSteps"]) == (100.0, last, last)
    status = api.monitor.get(f"/api/training/status/{job['uid']}").json()
    assert (status["progress_percent"], status["current_step"], status["total_steps"]) == (100.0, last, last)
    asked = {"params": {"job_id": job["uid"]}}
    # The job may have ended before telemetry has stored that.
    api.until(lambda: api.monitor.get("/api/training/summary", **asked).json().get("is_completed"), 30)
    summary = api.monitor.get("/api/training/summary", **asked).json()
    assert summary["current_iteration"] == last
    assert summary["data_point"] == f"{last}/{last}"
    again, _ = api.stream(job["uid"])
    assert {frame["total"] for frame in again} == {last}


def test_the_reason_is_in_the_jobs_log(api: Api, finished: Any) -> None:
    job, frames = finished
    lines = [line["text"] for line in api.main.get(f"/api/jobs/{job['uid']}/logs").json()["lines"]]
    stopped = f"Stopped early after step {frames[-1]['iteration']} of {MOST_STEPS}"
    assert any(stopped in line for line in lines), lines


def test_the_artifacts_are_a_model_of_its_own(api: Api, finished: Any) -> None:
    job, _ = finished
    paths = {artifact["path"] for artifact in job["artifacts"]}
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md", "manifest.json"} <= paths
    assert not any("adapter" in path for path in paths)
    manifest = api.main.get(f"/api/jobs/{job['uid']}/artifacts/manifest.json").json()
    assert (manifest["method"], manifest["base_model"]) == ("full", TINY_MODEL)
