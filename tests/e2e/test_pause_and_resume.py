"""A job that is paused and resumed over all processes: one curve of both its runs, each iteration once."""

from typing import Any

import pytest

from tests.e2e.api import Api, ended, rows_csv

# It loads torch twice.
pytestmark = pytest.mark.timeout(900)

STEPS = (100, 300, 900)
"""Of the first run, and of the next where that was over before it was paused."""


def iteration(job: dict[str, Any]) -> int:
    return int(job["training"]["currentStep"])


def training(api: Api, steps: int) -> str:
    """The uid of a job that has told its first step."""
    settings = {
        "max_steps": steps,
        "batch_size": 8,
        "gradient_accumulation_steps": 8,
        "eval_steps": steps,
        "validation_rows": 4,
    }
    upload = api.preview(rows_csv(40)).json()["upload_id"]
    uid = str(api.create_job(upload, save_steps=20, **settings)["jobUid"])
    api.until_it_trains(uid)
    return uid


def test_a_paused_job_goes_on_from_its_checkpoint_and_has_every_point_once(api: Api) -> None:
    for steps in STEPS:
        uid = training(api, steps)
        answer = api.main.post(f"/api/jobs/{uid}/pause")
        paused = api.wait(uid, lambda job: job["status"] != "running", 120)
        if paused["status"] != "completed":
            break
    assert (answer.status_code, paused["status"]) == (200, "paused"), paused
    checkpoints = api.main.get(f"/api/jobs/{uid}/checkpoints").json()["checkpoints"]
    step = checkpoints[0]["step"]
    assert step == iteration(paused) < steps

    assert api.main.post(f"/api/jobs/{uid}/resume").status_code == 200
    frames, _ = api.stream(uid, seconds=240)
    done = api.wait(uid, ended, 60)
    assert done["status"] == "completed", done["failure"]
    assert done["attempt"] == 2
    points = api.monitor.get("/api/training/losses", params={"job_id": uid, "last_n": steps}).json()
    for curve in (points, frames[:-1]):
        assert [point["iteration"] for point in curve] == list(range(1, steps + 1))
    log = api.main.get(f"/api/jobs/{uid}/logs").json()["lines"]
    assert any(f"Going on from the checkpoint after step {step}." in line["text"] for line in log)
