"""The trainer's way to the Hub with huggingface_hub's own client, in a process of its own as there."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.hub_server import HubServer
from tests.support.hub_uploads import WRITER_TOKEN

pytestmark = pytest.mark.connected

CARD = "---\nbase_model: local/tiny\nlibrary_name: peft\n---\n\n# Sums\n"
FILES = {
    "README.md": CARD.encode(),
    "adapter_model.safetensors": b"weights" * 40_000,
    "merged/model.safetensors": b"more weights" * 40_000,
    "manifest.json": b"{}",
}


class Trainer:
    """Sends one folder."""

    def __init__(self, hub: HubServer, folder: Path) -> None:
        self.folder = folder / "tuned"
        for path, content in FILES.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_bytes(content)
        hubs = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "huggingface"), "HF_TOKEN": WRITER_TOKEN}
        self._environment = {**os.environ, **hubs, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

    def push(self, repository: str, public: bool = False, **environment: str) -> dict[str, Any]:
        asked = {
            "folder": str(self.folder),
            "repository": repository,
            "public": public,
            "summary": "A tuned model",
        }
        ran = subprocess.run(
            [sys.executable, "-m", "tunedeck_trainer.side_answer", "tunedeck_trainer.hub_upload"],
            input=json.dumps(asked),
            env={**self._environment, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ran.returncode == 0, ran.stderr
        answer: dict[str, Any] = json.loads(ran.stdout)
        return answer


@pytest.fixture
def trainer(hub: HubServer, tmp_path: Path) -> Trainer:
    return Trainer(hub, tmp_path)


def test_a_folder_is_sent_to_a_private_repository_in_one_commit(hub: HubServer, trainer: Trainer) -> None:
    told = trainer.push("one-commit")
    model = hub.models["writer/one-commit"]
    assert (told["state"], told["repository"]) == ("pushed", "writer/one-commit")
    assert (told["url"], told["commit"]) == (f"{hub.url}/writer/one-commit", model.main)
    assert model.commits[model.main] == FILES
    assert model.about["private"] is True
    commits = [one for one in hub.requests if one.startswith("POST /api/models/writer/one-commit/commit/")]
    assert len(commits) == 1


def test_the_same_folder_again_changes_nothing_and_a_public_one_is_shown(
    hub: HubServer, trainer: Trainer
) -> None:
    first = trainer.push("writer/again")
    again = trainer.push("writer/again", public=True)
    assert (again["state"], again["commit"]) == ("pushed", first["commit"])
    assert hub.models["writer/again"].about["private"] is False


def test_nothing_private_is_sent_to_a_repository_that_everyone_sees(hub: HubServer, trainer: Trainer) -> None:
    hub.add("writer/seen", {}).about["private"] = False
    told = trainer.push("seen")
    assert (told["state"], told["problem"]) == ("failed", "is_public")
    assert hub.models["writer/seen"].commits[hub.models["writer/seen"].main] == {}


def test_who_may_not_write_is_told_so_with_what_to_do(hub: HubServer, trainer: Trainer) -> None:
    without = trainer.push("sums", HF_TOKEN="")
    assert (without["state"], without["problem"]) == ("failed", "no_token")
    assert "HF_TOKEN" in without["hint"]
    for no_token in ("hf_secret\x0bmore", "hf_secret more", "hf_secret\u2026"):
        told = trainer.push("sums", HF_TOKEN=no_token)
        assert (told["problem"], "secret" in json.dumps(told)) == ("no_token", False)
    for refused in (trainer.push("sums", HF_TOKEN="hf_unknown"), trainer.push("acme/sums")):
        assert (refused["state"], refused["problem"]) == ("failed", "refused")
        assert refused["detail"].startswith("The Hub answered with 40")
        assert "hf_unknown" not in json.dumps(refused)
    assert "writer/sums" not in hub.models


def test_a_hub_in_trouble_is_no_refusal(hub: HubServer, trainer: Trainer) -> None:
    with hub.away():
        away = trainer.push("sums")
    with hub.broken():
        broken = trainer.push("sums")
    for told in (away, broken):
        assert (told["state"], told["problem"]) == ("failed", "hub_unavailable"), told
        assert "\n" not in told["detail"]
