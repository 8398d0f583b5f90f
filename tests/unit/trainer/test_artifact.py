"""What a run leaves in its artifact, by the real training process."""

import csv
import hashlib
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.unit.trainer.child_runs import MODEL, run_child
from tunedeck_contracts.artifacts import Losses, Manifest
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.model_saving import ModelSaving
from tunedeck_trainer.merging import agreement
from tunedeck_trainer.pipe import FromChild, PointMade
from tunedeck_trainer.training_record import evaluations_table

SETTINGS = Hyperparameters(max_steps=5, batch_size=4, eval_steps=2, learning_rate=1e-2)


def points(told: list[FromChild]) -> list[PointMade]:
    return [message for message in told if isinstance(message, PointMade)]


@pytest.fixture(scope="module")
def merged(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[PointMade]]:
    """The artifact of a run that was to merge its adapter, and its points."""
    folder = tmp_path_factory.mktemp("merged")
    saving = ModelSaving(save_merged=True)
    told, status, printed = run_child(folder, models_dir, SETTINGS, model_saving=saving)
    assert status == 0, printed
    return folder / "tuned", points(told)


def test_the_manifest_has_what_the_run_was_made_of(merged: tuple[Path, list[PointMade]]) -> None:
    folder, told = merged
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    assert manifest.hyperparameters == SETTINGS
    assert manifest.base_revision == "sha256:0"
    assert manifest.batch_split is not None
    assert (manifest.batch_split.micro_batch_size, manifest.batch_split.gradient_checkpointing) == (4, False)
    assert manifest.environment is not None and manifest.losses is not None
    assert (manifest.environment.device, manifest.environment.threads) == ("cpu", 1)
    assert manifest.environment.packages["torch"] == torch.__version__
    assert {"tunedeck-trainer", "tokenizers"} <= manifest.environment.packages.keys()
    assert manifest.losses.train == [one.point.train_loss for one in told]
    assert [one.step for one in manifest.losses.evaluations] == [0, 2, 4, 5]
    assert manifest.losses.evaluations[-1].validation_loss == told[-1].point.validation_loss
    assert manifest.result is not None
    assert manifest.losses.evaluations[0].validation_loss == manifest.result.validation_loss_before


def test_every_file_is_in_the_manifest_with_its_hash(merged: tuple[Path, list[PointMade]]) -> None:
    folder, _ = merged
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {one.path for one in manifest.files} == there - {"manifest.json"}
    assert there >= {"losses.csv", "training_log.txt", "README.md", "merged/model.safetensors"}
    for one in manifest.files:
        content = (folder / one.path).read_bytes()
        assert (one.size, one.sha256) == (len(content), hashlib.sha256(content).hexdigest()), one.path


def test_log_and_curves_tell_the_course(merged: tuple[Path, list[PointMade]]) -> None:
    folder, told = merged
    rows = list(csv.DictReader((folder / "losses.csv").read_text().splitlines()))
    assert [float(row["train_loss"]) for row in rows] == [one.point.train_loss for one in told]
    assert "Validation loss before training" in (folder / "training_log.txt").read_text()
    card = (folder / "README.md").read_text()
    assert "Rows are written by the model's own chat template." in card
    assert f"| 5 | {told[-1].point.train_loss:.4f} | {told[-1].point.validation_loss:.4f} |" in card


def test_the_merged_model_answers_as_the_adapter_does(
    models_dir: Path, merged: tuple[Path, list[PointMade]]
) -> None:
    folder, _ = merged
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    assert manifest.merge is not None
    assert (manifest.merge.prompts, manifest.merge.equal_answers, manifest.merge.equal_tokens) == (
        3,
        1.0,
        1.0,
    )
    whole = AutoModelForCausalLM.from_pretrained(folder / "merged", use_safetensors=True)
    base = AutoModelForCausalLM.from_pretrained(models_dir / MODEL)
    changed = [
        name
        for (name, one), other in zip(whole.named_parameters(), base.parameters(), strict=True)
        if not torch.equal(one, other)
    ]
    assert any("q_proj" in name for name in changed)
    assert str(models_dir) not in (folder / "merged/config.json").read_text()


def test_answers_that_differ_are_counted() -> None:
    found = agreement([[1, 2, 3], [4, 5]], [[1, 9, 3], [4]])
    assert (found.prompts, found.equal_answers, found.equal_tokens) == (2, 0.0, 3 / 5)


def test_a_run_that_stops_early_is_the_beginning_of_the_whole_one(
    models_dir: Path, tmp_path: Path, merged: tuple[Path, list[PointMade]]
) -> None:
    told, status, printed = run_child(tmp_path, models_dir, SETTINGS, stop_after_steps=3)
    assert status == 0, printed
    _, whole = merged
    assert [one.point.train_loss for one in points(told)] == [one.point.train_loss for one in whole[:3]]
    assert [one.point.learning_rate for one in points(told)] == [one.point.learning_rate for one in whole[:3]]
    assert points(told)[-1].total_steps == 3
    left = sorted(path.name for path in (tmp_path / "tuned").iterdir())
    assert left == ["losses.csv", "manifest.json", "training_log.txt"]
    manifest = json.loads((tmp_path / "tuned/manifest.json").read_bytes())
    assert manifest["hyperparameters"]["max_steps"] == 5


def test_of_many_evaluations_the_card_shows_some_with_the_first_and_the_last() -> None:
    evaluations = [{"step": step, "validation_loss": 1.0} for step in range(0, 1001, 10)]
    losses = Losses.model_validate({"train": [1.0] * 1000, "evaluations": evaluations})
    rows = evaluations_table(losses).splitlines()
    assert len(rows) == 12
    assert (rows[0], rows[-1]) == ("| 0 | - | 1.0000 |", "| 1000 | 1.0000 | 1.0000 |")
