"""A tuned model with all that was asked for: merged, sent to the Hub, and verified by its own manifest."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunningStack
from tests.e2e.api import Api, ended, rows_csv
from tests.support.hub_server import HubServer

# Each of three trainings starts a process of its own, which a busy machine may take minutes for.
pytestmark = pytest.mark.timeout(900)

NAME = "sums-of-two"
Verify = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture(scope="module")
def job(api: Api) -> dict[str, Any]:
    """A completed job whose model is merged and pushed."""
    sent = {
        "name": "Sums of two",
        "configuration": {
            "model": {"uid": "local/tiny"},
            "dataset": {"uid": api.preview(rows_csv(40)).json()["upload_id"]},
            "hyperparameters": {"max_steps": 4, "batch_size": 2, "eval_steps": 2, "validation_rows": 4},
        },
        "modelSaving": {"modelName": NAME, "saveMerged": True, "pushToHub": True},
    }
    uid = api.main.post("/api/jobs", json=sent).json()["jobUid"]
    job = api.wait(uid, ended, 400)
    assert job["status"] == "completed", job["failure"]
    return job


@pytest.fixture(scope="module")
def folder(api: Api, job: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact, downloaded."""
    folder = tmp_path_factory.mktemp("downloaded")
    for one in job["artifacts"]:
        target = folder / one["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(api.main.get(f"/api/jobs/{job['uid']}/artifacts/{one['path']}").content)
    return folder


@pytest.fixture(scope="module")
def verify(stack: RunningStack) -> Verify:
    """The command as a person runs it: its exit status, and what it says as JSON."""

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        ran = subprocess.run(
            [sys.executable, "-m", "tunedeck_cli.main", "verify", *arguments, "--json"],
            env={**os.environ, "TUNEDECK_API_URL": stack.api_url},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert ran.stdout, ran.stderr
        return ran.returncode, json.loads(ran.stdout)

    return run


def test_the_artifact_has_all_that_was_asked_for(job: dict[str, Any], folder: Path) -> None:
    paths = {one["path"] for one in job["artifacts"]}
    assert paths >= {
        *("adapter_model.safetensors", "tokenizer.json", "README.md", "manifest.json"),
        *("losses.csv", "training_log.txt", "merged/model.safetensors", "merged/config.json"),
    }
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert manifest["merge"]["prompts"] == 4
    assert manifest["merge"]["equal_answers"] == 1.0
    assert len(manifest["losses"]["train"]) == 4
    assert manifest["base_revision"].startswith("sha256:")


def test_the_files_are_on_the_hub_for_their_owner_alone(
    api: Api, job: dict[str, Any], hub: HubServer
) -> None:
    def is_over(now: dict[str, Any]) -> bool:
        return now["hubPush"]["state"] in ("pushed", "failed")

    push = api.wait(job["uid"], is_over, 120)["hubPush"]
    assert push["state"] == "pushed", push
    model = hub.models[f"writer/{NAME}"]
    assert (push["commit"], push["url"]) == (model.main, f"{hub.url}/writer/{NAME}")
    there = {path: hashlib.sha256(file).hexdigest() for path, file in model.commits[model.main].items()}
    assert there == {one["path"]: one["sha256"] for one in job["artifacts"]}
    assert model.about["private"] is True


def test_a_push_that_the_hub_refuses_is_told_and_leaves_the_job_as_it_is(
    api: Api, job: dict[str, Any]
) -> None:
    uid = job["uid"]
    api.wait(uid, lambda now: now["hubPush"]["state"] == "pushed", 120)
    wanted = api.main.post(f"/api/jobs/{uid}/push", json={"modelName": "someone-else/sums"})
    assert (wanted.status_code, wanted.json()["hubPush"]["state"]) == (200, "waiting")
    after = api.wait(uid, lambda now: now["hubPush"]["state"] == "failed", 120)
    assert after["hubPush"]["problem"] == "refused"
    assert "namespace" in after["hubPush"]["detail"] and "HF_TOKEN" in after["hubPush"]["hint"]
    assert (after["status"], after["artifacts"]) == ("completed", job["artifacts"])


def test_the_first_steps_come_again_bit_for_bit_and_nothing_is_left(
    api: Api, job: dict[str, Any], verify: Verify
) -> None:
    status, told = verify(job["uid"], "--steps", "2")
    assert (status, told["verified"]) == (0, True), told
    assert told["files"]["missing"] == told["files"]["changed"] == []
    assert told["manifest_is_the_jobs"] is True
    assert (told["replay"]["tolerance"], told["replay"]["differences"]) == (0.0, [])
    seen = [(one["step"], one["what"]) for one in told["replay"]["losses"]]
    assert seen == [(0, "validation"), (1, "training"), (2, "training"), (2, "validation")]
    assert api.main.get(f"/api/jobs/{told['replay']['job_uid']}").status_code == 404


def test_a_changed_loss_and_a_changed_file_are_seen(folder: Path, verify: Verify) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["losses"]["train"][0] -= 1e-6
    (folder / "manifest.json").write_text(json.dumps(manifest))
    adapter = bytearray((folder / "adapter_model.safetensors").read_bytes())
    adapter[-1] ^= 1
    (folder / "adapter_model.safetensors").write_bytes(adapter)
    status, told = verify(str(folder), "--steps", "1")
    assert (status, told["verified"], told["manifest_is_the_jobs"]) == (1, False, False)
    assert told["files"]["changed"] == ["adapter_model.safetensors"]
    differing = [(one["step"], one["what"]) for one in told["replay"]["losses"] if not one["agrees"]]
    assert differing == [(1, "training")]


def test_a_revision_that_cannot_be_had_is_said(api: Api, job: dict[str, Any]) -> None:
    model = {"uid": "local/tiny", "revision": "sha256:0"}
    dataset = {"uid": job["configuration"]["dataset"]["uid"]}
    sent = {"name": "Another revision", "configuration": {"model": model, "dataset": dataset}}
    made = api.main.post("/api/jobs", json=sent).json()["job"]
    assert made["status"] == "created"
    assert "sha256:0 is wanted" in made["problems"][0]
    assert made["configuration"]["model"]["revision"] == "sha256:0"
