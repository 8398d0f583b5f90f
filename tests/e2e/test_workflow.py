"""The workflow over all processes: upload, train, watch, take away. A tiny model; everything else is real."""

import hashlib
import math
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.api import Api, ended, rows_csv

# Some of it loads torch twice.
pytestmark = pytest.mark.timeout(900)

STEPS = 8


@pytest.fixture(scope="module")
def finished(api: Api) -> tuple[dict[str, Any], list[dict[str, Any]], int]:
    """A job that ran from upload to end, with every frame of its live stream."""
    preview = api.preview(rows_csv(60))
    assert preview.status_code == 200, preview.text
    created = api.create_job(
        preview.json()["upload_id"], max_steps=STEPS, batch_size=4, eval_steps=4, validation_split=0.1
    )
    assert created["success"] is True
    uid = created["jobUid"]
    status = api.monitor.get(f"/api/training/status/{uid}")
    assert status.status_code == 200, "the status is there as soon as the job is"
    frames, code = api.stream(uid)
    return api.wait(uid, ended, 60), frames, code


def test_the_job_completes_with_what_it_achieved(finished: Any) -> None:
    job, _, _ = finished
    assert job["status"] == "completed", job["failure"]
    assert job["training"]["progress"] == 100.0
    assert job["result"]["validationRows"] == 6
    assert job["result"]["trainRows"] == 54
    assert all(math.isfinite(job["result"][key]) for key in ("validationLossBefore", "validationLossAfter"))


def test_a_plain_client_gets_every_point_once_in_full_shape(finished: Any) -> None:
    job, frames, code = finished
    assert code == 1000
    *points, last = frames
    assert [frame["iteration"] for frame in points] == list(range(1, STEPS + 1))
    assert [frame["is_completed"] for frame in frames] == [False] * STEPS + [True]
    assert last["iteration"] == STEPS
    for frame in frames:
        assert frame["job_id"] == job["uid"] and frame["total"] == STEPS
        assert frame["resources"]["ram_total_gb"] > 0
        for key in ("train_loss", "validation_loss", "learning_rate"):
            assert math.isfinite(frame["training"][key])


def test_a_second_look_shows_the_same_points_and_after_goes_on(api: Api, finished: Any) -> None:
    job, frames, _ = finished
    again, code = api.stream(job["uid"])
    assert code == 1000
    assert [(one["seq"], one["training"]) for one in again] == [
        (one["seq"], one["training"]) for one in frames
    ]
    rest, _ = api.stream(job["uid"], f"?after={frames[4]['seq']}")
    assert [one["iteration"] for one in rest[:-1]] == [6, 7, 8]
    end, code = api.stream(job["uid"], f"?after={frames[-1]['seq']}")
    assert ([one["is_completed"] for one in end], end[0]["iteration"], code) == ([True], STEPS, 1000)


def test_the_monitor_tells_the_same_on_both_ports(api: Api, finished: Any) -> None:
    job, frames, _ = finished
    for client in (api.main, api.monitor):
        losses = client.get("/api/training/losses", params={"job_id": job["uid"]}).json()
        assert [one["train_loss"] for one in losses] == [
            frame["training"]["train_loss"] for frame in frames[:STEPS]
        ]
    current = api.monitor.get("/api/training/losses/current", params={"job_id": job["uid"]}).json()
    assert current["iteration"] == STEPS
    status = api.monitor.get(f"/api/training/status/{job['uid']}").json()
    assert (status["status"], status["progress_percent"], status["current_step"]) == (
        "completed",
        100.0,
        STEPS,
    )
    asked = {"params": {"job_id": job["uid"]}}
    # The stream may have heard of the end before telemetry has stored it.
    api.until(lambda: api.monitor.get("/api/training/summary", **asked).json().get("is_completed"), 30)
    summary = api.monitor.get("/api/training/summary", **asked).json()
    assert summary["data_point"] == f"{STEPS}/{STEPS}"


def test_resources_are_real_and_invent_no_gpu(api: Api, finished: Any) -> None:
    job, _, _ = finished
    samples = api.monitor.get("/api/training/resources", params={"job_id": job["uid"]}).json()
    assert samples
    now = api.monitor.get("/api/training/resources/current").json()
    assert abs(now["ram_total_gb"] - psutil.virtual_memory().total / 2**30) < 0.1
    if now["gpu_count"] == 0:
        assert (now["gpu_percent"], now["vram_total_gb"], now["gpu_temp"]) == (0.0, 0.0, None)


def test_the_adapter_is_downloaded_whole_and_loads_with_peft(
    api: Api, finished: Any, models_dir: Path, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    job, _, _ = finished
    paths = {artifact["path"] for artifact in job["artifacts"]}
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "README.md"} <= paths
    for artifact in job["artifacts"]:
        answer = api.main.get(f"/api/jobs/{job['uid']}/artifacts/{artifact['path']}")
        assert answer.status_code == 200
        assert hashlib.sha256(answer.content).hexdigest() == artifact["sha256"]
        target = tmp_path / artifact["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(answer.content)
    base = AutoModelForCausalLM.from_pretrained(models_dir / "local" / "tiny")
    PeftModel.from_pretrained(base, tmp_path)


def test_the_logs_are_with_the_job(api: Api, finished: Any) -> None:
    job, _, _ = finished
    lines = api.main.get(f"/api/jobs/{job['uid']}/logs").json()["lines"]
    assert lines and all(line["text"] for line in lines)


def test_a_correlation_id_goes_out_with_the_answer(api: Api) -> None:
    answer = api.main.get("/api/jobs", headers={"X-Correlation-Id": "mine-1"})
    assert answer.headers["X-Correlation-Id"] == "mine-1"


def test_a_running_job_is_cancelled_at_a_step(api: Api) -> None:
    upload = api.preview(rows_csv(60)).json()["upload_id"]
    uid = api.create_job(upload, max_steps=5000, batch_size=2, eval_steps=5000, validation_rows=4)["jobUid"]
    api.until_it_trains(uid)
    assert api.main.post(f"/api/jobs/{uid}/cancel").status_code == 200
    job = api.wait(uid, ended, 60)
    assert job["status"] == "cancelled"
    assert api.main.post(f"/api/jobs/{uid}/cancel").status_code == 409


def test_a_killed_trainer_loses_no_job_and_doubles_no_point(api: Api, stack: Any) -> None:
    upload = api.preview(rows_csv(60)).json()["upload_id"]
    settings = {"batch_size": 2, "gradient_accumulation_steps": 2, "eval_steps": 200, "validation_rows": 4}
    # One that is over before its trainer is killed is followed by a longer one.
    for steps in (400, 1200, 3600):
        uid = api.create_job(upload, max_steps=steps, **settings)["jobUid"]
        api.until_it_trains(uid)
        trainer = psutil.Process(stack.stack.supervisor.pid("trainer"))
        children = trainer.children(recursive=True)
        trainer.kill()
        _, alive = psutil.wait_procs(children, timeout=30)
        assert not alive, "the training process dies with its trainer"
        job = api.wait(uid, ended, 240)
        if job["attempt"] > 1:
            break
    assert children, "the training is a process of its own"
    assert (job["status"], job["attempt"]) == ("completed", 2), job["failure"]
    losses = api.monitor.get("/api/training/losses", params={"job_id": uid, "last_n": 10_000}).json()
    assert [one["iteration"] for one in losses] == list(range(1, steps + 1))
