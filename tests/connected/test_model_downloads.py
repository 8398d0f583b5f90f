"""The trainer's download from a local Hub, in a process of its own: HF_ENDPOINT is read at import."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.hub_server import ACCEPTED_TOKEN, HubServer
from tests.support.small_models import model_files

pytestmark = pytest.mark.connected

PROGRAM = """
import json, pathlib, sys
from tunedeck_contracts.models import ResolvedModel
from tunedeck_trainer import model_files
from tunedeck_trainer.failures import RunFailed
model = ResolvedModel(uid=sys.argv[1], name="Model", revision=sys.argv[2], source="hub")
try:
    locate = getattr(model_files, sys.argv[3])
    answer = {"folder": str(locate(model, pathlib.Path("none")))}
except RunFailed as error:
    answer = {"code": error.code, "detail": str(error)}
print(json.dumps(answer))
"""
UNKNOWN_COMMIT = "0" * 40


class Trainer:
    """Locates models with a cache of its own."""

    def __init__(self, hub: HubServer, cache: Path) -> None:
        hubs = {"HF_ENDPOINT": hub.url, "HF_HOME": str(cache), "HF_TOKEN": ""}
        self._environment = {**os.environ, **hubs, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

    def locate(
        self, model_id: str, revision: str, what: str = "locate", **environment: str
    ) -> dict[str, str]:
        ran = subprocess.run(
            [sys.executable, "-c", PROGRAM, model_id, revision, what],
            env={**self._environment, **environment},
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert ran.returncode == 0, ran.stderr
        answer: dict[str, str] = json.loads(ran.stdout)
        return answer


@pytest.fixture
def trainer(hub: HubServer, tmp_path: Path) -> Trainer:
    return Trainer(hub, tmp_path / "huggingface")


def test_the_pinned_commit_is_downloaded_though_main_has_moved_on(hub: HubServer, trainer: Trainer) -> None:
    model = hub.add("pinned/model", model_files(n_positions=1))
    pinned = model.main
    model.commit(model_files(n_positions=2))
    folder = Path(trainer.locate(model.id, pinned)["folder"])
    assert folder.name == pinned != model.main
    assert json.loads((folder / "config.json").read_bytes()) == {"n_positions": 1}
    offline = trainer.locate(model.id, pinned, HF_HUB_OFFLINE="1")
    assert offline == {"folder": str(folder)}


def test_nothing_but_one_set_of_safe_weights_is_downloaded(hub: HubServer, trainer: Trainer) -> None:
    weights = model_files()["model.safetensors"]
    others = {
        "pytorch_model.bin": b"pickle",
        "consolidated.safetensors": weights,
        "onnx/model.safetensors": weights,
        "modeling_own.py": b"raise SystemExit",
    }
    model = hub.add("many/formats", {**model_files(), **others})
    folder = Path(trainer.locate(model.id, model.main)["folder"])
    assert sorted(path.name for path in folder.rglob("*")) == ["config.json", "model.safetensors"]


def test_of_a_model_that_is_only_previewed_no_weights_are_downloaded(
    hub: HubServer, trainer: Trainer
) -> None:
    model = hub.add("only/previewed", {**model_files(), "tokenizer.json": b"{}", "README.md": b"# Long"})
    folder = Path(trainer.locate(model.id, model.main, "locate_tokenizer")["folder"])
    assert sorted(path.name for path in folder.rglob("*")) == ["config.json", "tokenizer.json"]
    assert Path(trainer.locate(model.id, model.main)["folder"]) == folder
    assert (folder / "model.safetensors").exists(), "a run completes what the preview has begun"
    hub.add("only/code", {**model_files(auto_map={"AutoModel": "own.Own"})})
    refused = trainer.locate("only/code", hub.models["only/code"].main, "locate_tokenizer")
    assert "brings code of its own" in refused["detail"]


def test_a_gated_model_is_downloaded_with_a_token_that_opens_it(hub: HubServer, trainer: Trainer) -> None:
    model = hub.add("gated/model", model_files(), gated=True)
    refused = trainer.locate(model.id, model.main)
    assert refused["code"] == "gated_model"
    assert "is gated, and the trainer's HF_TOKEN does not open it" in refused["detail"]
    assert "folder" in trainer.locate(model.id, model.main, HF_TOKEN=ACCEPTED_TOKEN)


def test_a_token_that_no_header_takes_is_not_told(hub: HubServer, trainer: Trainer) -> None:
    model = hub.add("gated/again", model_files(), gated=True)
    refused = trainer.locate(model.id, model.main, HF_TOKEN="hf_secret\x0bmore")
    assert refused["code"] == "gated_model"
    assert "secret" not in json.dumps(refused)


def test_models_that_cannot_be_used(hub: HubServer, trainer: Trainer) -> None:
    hub.add("own/code", model_files(auto_map={"AutoModel": "modeling_own.Own"}))
    hub.add("own/list", {**model_files(), "config.json": b"[]"})
    hub.add("own/text", {**model_files(), "config.json": b"no JSON"})
    hub.add("own/gptq", model_files(quantization_config={"quant_method": "gptq", "bits": 4}))
    hub.add("own/pickled", {"config.json": b"{}", "pytorch_model.bin": b"pickle"})
    for name, sentence in {
        "own/code": "brings code of its own",
        "own/list": "is no JSON object",
        "own/text": "is no JSON",
        "own/pickled": "no weights in safetensors",
        "own/gptq": "are quantised by 'gptq' already",
    }.items():
        refused = trainer.locate(name, hub.models[name].main)
        assert (refused["code"], sentence in refused["detail"]) == ("model_not_found", True), refused


def test_what_the_hub_does_not_have(hub: HubServer, trainer: Trainer) -> None:
    hub.add("there/model", model_files())
    for name in ("there/model", "not/there"):
        refused = trainer.locate(name, UNKNOWN_COMMIT)
        expected = f"The Hub has no model '{name}' at {UNKNOWN_COMMIT}."
        assert refused == {"code": "model_not_found", "detail": expected}


def test_a_hub_in_trouble_is_no_missing_model(hub: HubServer, trainer: Trainer) -> None:
    model = hub.add("in/trouble", model_files())
    with hub.broken():
        broken = trainer.locate(model.id, model.main)
    offline = trainer.locate(model.id, model.main, HF_HUB_OFFLINE="1")
    for refused in (broken, offline):
        assert refused["code"] == "hub_unavailable"
        assert refused["detail"].startswith(f"The Hub did not give the model 'in/trouble' at {model.main}: ")
        assert "\n" not in refused["detail"]
