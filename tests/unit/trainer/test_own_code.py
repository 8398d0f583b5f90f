"""A model that brings code of its own: read without it where transformers knows its kind, else refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.unit.trainer.child_runs import MODEL
from tunedeck_contracts.failures import FailureCode
from tunedeck_contracts.models import ResolvedModel
from tunedeck_trainer import model_files
from tunedeck_trainer.failures import RunFailed
from tunedeck_trainer.model_loading import load_model

TINY = ResolvedModel(uid=MODEL, name="tiny", revision="sha256:0", source="folder")


def with_own_code(models_dir: Path, copy: Path, **config: str | None) -> Path:
    """The tiny model with code beside its weights, which leaves a trace where it runs."""
    folder = copy / MODEL
    shutil.copytree(models_dir / MODEL, folder)
    there = json.loads((folder / "config.json").read_text())
    mapped = {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}
    (folder / "config.json").write_text(json.dumps({**there, "auto_map": mapped, **config}))
    (folder / "own.py").write_text(f"open({str(copy / 'ran')!r}, 'w')\n")
    return folder


def test_of_a_kind_that_transformers_knows_its_code_is_not_needed_and_not_run(
    models_dir: Path, tmp_path: Path
) -> None:
    folder = with_own_code(models_dir, tmp_path)
    assert model_files.locate(TINY, tmp_path) == folder
    model = load_model(folder, torch.float32)
    assert type(model).__module__.startswith("transformers.")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["own", None])
def test_of_another_kind_it_is_refused(models_dir: Path, tmp_path: Path, kind: str | None) -> None:
    with_own_code(models_dir, tmp_path, model_type=kind)
    with pytest.raises(RunFailed, match="brings code of its own, which is never run") as failed:
        model_files.locate(TINY, tmp_path)
    assert failed.value.code == FailureCode.MODEL_NOT_FOUND
