"""Each way to train, on the tiny model: every setting is seen to change what it should, or is refused."""

import json
import math
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, TrainerControl, TrainerState

from tests.unit.trainer.child_runs import MODEL, a_run, write_rows
from tests.unit.trainer.test_recipe import validation_loss
from tunedeck_contracts.failures import FailureCode
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.jobs import Result
from tunedeck_contracts.training import LossPoint
from tunedeck_trainer import data, recipe
from tunedeck_trainer.energy import EnergyMeter
from tunedeck_trainer.failures import RunFailed
from tunedeck_trainer.model_loading import add_lora, check_method, load_model
from tunedeck_trainer.pipe import FromChild, PointMade, Spec, Wishes
from tunedeck_trainer.points import Points
from tunedeck_trainer.recipe import fine_tune
from tunedeck_trainer.token_loss import can_skip_questions
from tunedeck_trainer.tokenizer_loading import load_tokenizer
from tunedeck_trainer.training_record import LOG

SETTINGS = Hyperparameters(max_steps=4, batch_size=4, eval_steps=2, learning_rate=1e-2)


class Trained:
    """A finished run: what it told, and its folder."""

    def __init__(self, folder: Path, models_dir: Path, settings: Hyperparameters) -> None:
        self.told: list[FromChild] = []
        self.folder = folder / "tuned"
        write_rows(folder / "rows.jsonl", 30)
        (folder / LOG).touch()
        spec = Spec(
            run=a_run(settings),
            models_dir=models_dir,
            rows_file=folder / "rows.jsonl",
            device="cpu",
            threads=1,
        )
        self.result: Result = fine_tune(spec, folder, self.told.append, Wishes())

    @property
    def made(self) -> list[PointMade]:
        return [message for message in self.told if isinstance(message, PointMade)]

    @property
    def points(self) -> list[LossPoint]:
        return [one.point for one in self.made]

    def weights(self, name: str = "adapter_model.safetensors") -> dict[str, torch.Tensor]:
        loaded: dict[str, torch.Tensor] = load_file(self.folder / name)
        return loaded


def changed(**fields: Any) -> Hyperparameters:
    return Hyperparameters.model_validate({**SETTINGS.model_dump(), **fields})


def test_the_method_full_trains_the_models_own_weights(models_dir: Path, tmp_path: Path) -> None:
    trained = Trained(tmp_path, models_dir, changed(method="full", learning_rate=1e-3))
    base = load_file(models_dir / MODEL / "model.safetensors")
    tuned = trained.weights("model.safetensors")
    assert tuned.keys() == base.keys()
    assert all(not torch.equal(base[name], tuned[name]) for name in base)
    assert trained.result.validation_loss_after < trained.result.validation_loss_before

    model = AutoModelForCausalLM.from_pretrained(trained.folder)
    loss = validation_loss(model, models_dir, tmp_path)
    assert loss == pytest.approx(trained.result.validation_loss_after, rel=1e-4)
    manifest = json.loads((trained.folder / "manifest.json").read_text())
    assert manifest["method"] == "full"
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md"} <= {
        file["path"] for file in manifest["files"]
    }
    card = (trained.folder / "README.md").read_text()
    assert "library_name: transformers" in card and "LoRA adapter" not in card and "peft" not in card
    configuration = (trained.folder / "config.json").read_text()
    assert str(models_dir) not in configuration
    assert json.loads(configuration)["use_cache"] is True


def test_rslora_scales_by_the_root_of_the_rank(models_dir: Path, tmp_path: Path) -> None:
    losses = {}
    for name, fields in {
        "rslora": {"lora_r": 4, "lora_alpha": 8, "use_rslora": True},
        "as much by alpha": {"lora_r": 4, "lora_alpha": 16},
        "less": {"lora_r": 4, "lora_alpha": 8},
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        losses[name] = [point.train_loss for point in Trained(folder, models_dir, changed(**fields)).points]
    assert losses["rslora"] == losses["as much by alpha"] != losses["less"]


@pytest.mark.parametrize("use_rslora", [False, True])
def test_dora_trains_lengths_beside_directions_and_its_adapter_is_read_back(
    models_dir: Path, tmp_path: Path, use_rslora: bool
) -> None:
    trained = Trained(tmp_path, models_dir, changed(use_dora=True, use_rslora=use_rslora))
    lengths = {name: one for name, one in trained.weights().items() if "lora_magnitude_vector" in name}
    base = load_file(models_dir / MODEL / "model.safetensors")
    assert len(lengths) == 14
    for name, length in lengths.items():
        module = name.removeprefix("base_model.model.").removesuffix(".lora_magnitude_vector")
        assert not torch.allclose(length, base[f"{module}.weight"].norm(dim=1)), name
    tuned = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(models_dir / MODEL), trained.folder
    )
    loss = validation_loss(tuned, models_dir, tmp_path)
    assert loss == pytest.approx(trained.result.validation_loss_after, rel=1e-4)
    made = add_lora(load_model(models_dir / MODEL, torch.float32), changed(use_dora=True))
    assert can_skip_questions(made, _batch(models_dir, tmp_path))
    assert can_skip_questions(tuned, _batch(models_dir, tmp_path))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("final_logit_softcapping", 30.0), ("logit_scale", 0.0625), ("logits_scaling", 8.0)],
)
def test_a_model_that_caps_or_scales_its_logits_computes_its_own_loss(
    models_dir: Path, tmp_path: Path, setting: str, value: float
) -> None:
    write_rows(tmp_path / "rows.jsonl", 8)
    model = load_model(models_dir / MODEL, torch.float32)
    batch = _batch(models_dir, tmp_path)
    assert can_skip_questions(model, batch)
    setattr(model.config, setting, value)
    assert not can_skip_questions(model, batch)


def _batch(models_dir: Path, folder: Path) -> dict[str, torch.Tensor]:
    tokenizer = load_tokenizer(models_dir / MODEL)
    rows = data.prepare(folder / "rows.jsonl", tokenizer, SETTINGS).train
    taken = [{"input_ids": row.input_ids, "labels": row.labels} for row in rows]
    return data.collate(taken)


def test_each_optimizer_makes_steps_of_its_own(models_dir: Path, tmp_path: Path) -> None:
    curves = {}
    for optimizer in ("adamw", "sgd", "adafactor", "adagrad", "rmsprop"):
        folder = tmp_path / optimizer
        folder.mkdir()
        trained = Trained(folder, models_dir, changed(optimizer=optimizer, max_steps=3))
        curves[optimizer] = [point.train_loss for point in trained.points]
        assert any(bool(weight.any()) for name, weight in trained.weights().items() if "lora_B" in name)
    assert len({losses[0] for losses in curves.values()}) == 1
    assert len({losses[2] for losses in curves.values()}) == 5, curves


def test_precision_changes_the_numbers_that_are_computed_in(models_dir: Path, tmp_path: Path) -> None:
    losses = {}
    for precision in ("auto", "fp32", "bf16"):
        folder = tmp_path / precision
        folder.mkdir()
        trained = Trained(folder, models_dir, changed(precision=precision, max_steps=2))
        losses[precision] = trained.points[0].train_loss
        assert {weight.dtype for weight in trained.weights().values()} == {torch.float32}
    assert losses["auto"] == losses["fp32"] != losses["bf16"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.01)


def test_a_run_takes_the_fast_way_that_its_device_has(
    models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cpu = recipe.training_arguments(SETTINGS, tmp_path, on_gpu=False, compute=torch.float32)
    assert (on_cpu.optim, on_cpu.tf32, on_cpu.gradient_checkpointing) == ("adamw_torch_fused", None, False)
    assert load_model(models_dir / MODEL, torch.float32).config._attn_implementation == "sdpa"

    # Of a GPU that is not here, what transformers would be asked for.
    monkeypatch.setattr(recipe, "TrainingArguments", SimpleNamespace)
    for has_tf32 in (True, False):
        monkeypatch.setattr(recipe, "is_torch_tf32_available", lambda answer=has_tf32: answer)
        on_gpu = recipe.training_arguments(SETTINGS, tmp_path, on_gpu=True, compute=torch.bfloat16)
        assert (on_gpu.tf32, on_gpu.bf16, on_gpu.use_cpu) == (has_tf32 or None, True, False)


def test_the_whole_model_computes_in_bf16_and_keeps_its_weights_in_fp32(
    models_dir: Path, tmp_path: Path
) -> None:
    trained = {}
    for precision in ("fp32", "bf16"):
        folder = tmp_path / precision
        folder.mkdir()
        settings = changed(method="full", precision=precision, learning_rate=1e-4, max_steps=2)
        trained[precision] = Trained(folder, models_dir, settings)
    assert trained["bf16"].points[0].train_loss != trained["fp32"].points[0].train_loss
    assert trained["bf16"].result.validation_loss_before != trained["fp32"].result.validation_loss_before
    base = load_file(models_dir / MODEL / "model.safetensors")
    tuned = trained["bf16"].weights("model.safetensors")
    assert {weight.dtype for weight in tuned.values()} == {torch.float32}
    assert all(not torch.equal(base[name], tuned[name]) for name in base)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"precision": "fp16"}, "precision: fp16 .* need a CUDA GPU"),
        ({"method": "qlora"}, "method: qlora .* needs a CUDA GPU"),
        ({"target_modules": "(q_proj"}, "target_modules do not fit this model"),
    ],
)
def test_what_cannot_be_done_here_is_refused_with_the_reason(
    models_dir: Path, tmp_path: Path, fields: dict[str, str], reason: str
) -> None:
    with pytest.raises(RunFailed, match=reason) as refused:
        Trained(tmp_path, models_dir, changed(**fields))
    assert refused.value.code == FailureCode.BAD_SETTINGS


def test_on_a_gpu_qlora_still_wants_its_package() -> None:
    with pytest.raises(RunFailed, match="needs the package bitsandbytes"):
        check_method(Hyperparameters(method="qlora"), on_gpu=True)


def test_in_fp16_a_gradient_that_overflows_is_no_failure_of_the_run() -> None:
    told: list[FromChild] = []
    points = Points(told.append, threading.Event(), EnergyMeter("cpu"))
    points.trainer = SimpleNamespace(step_tokens=10, step_rows=[1, 2])
    points.validation_loss = 3.0
    state = TrainerState(max_steps=9, num_train_epochs=1)
    state.global_step, state.epoch = 1, 0.1
    logs = {"loss": 2.5, "learning_rate": 1e-4, "grad_norm": math.inf}
    points.on_log(SimpleNamespace(fp16=True), state, TrainerControl(), logs)
    assert [message.point.train_loss for message in told if isinstance(message, PointMade)] == [2.5]


def test_training_ends_early_when_the_validation_loss_does_not_fall(
    models_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tunedeck")
    worse = changed(method="full", learning_rate=1.0, max_steps=40, early_stopping_patience=2)
    trained = Trained(tmp_path, models_dir, worse)
    steps = [point.step for point in trained.points]
    assert steps == list(range(1, steps[-1] + 1))
    assert 4 <= steps[-1] < 40
    assert trained.made[-1].total_steps == steps[-1]
    assert {one.total_steps for one in trained.made[:-1]} == {40}
    evaluated = [point.validation_loss for point in trained.points[1::2]]
    assert trained.result.validation_loss_last == evaluated[-1]
    assert trained.result.validation_loss_after == min(evaluated)
    lines = [line for line in caplog.messages if "Stopped early" in line]
    assert [f"after step {steps[-1]} of 40: 2 evaluations" in line for line in lines] == [True]


def test_training_goes_on_while_the_validation_loss_falls(models_dir: Path, tmp_path: Path) -> None:
    trained = Trained(tmp_path, models_dir, changed(early_stopping_patience=1, max_steps=6))
    losses = [point.validation_loss for point in trained.points]
    assert losses[1] > losses[3] > losses[5]
    assert trained.made[-1].total_steps == len(losses) == 6
