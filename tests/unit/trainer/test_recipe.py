"""The training process, run for real on the tiny model."""

import json
import math
import os
import subprocess
import sys
import threading
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, TrainerControl, TrainerState

from tests.unit.trainer.child_runs import MODEL, run_child, write_rows
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.jobs import Wanted
from tunedeck_trainer import data, token_loss
from tunedeck_trainer.energy import EnergyMeter
from tunedeck_trainer.failures import RunFailed
from tunedeck_trainer.model_loading import add_lora, load_model
from tunedeck_trainer.order import EpochOrder
from tunedeck_trainer.pipe import Command, Failed, Finished, FromChild, PhaseChanged, PointMade, Stopped
from tunedeck_trainer.points import Points
from tunedeck_trainer.tokenizer_loading import load_tokenizer

SETTINGS = Hyperparameters(
    max_steps=6, batch_size=4, gradient_accumulation_steps=2, eval_steps=2, learning_rate=1e-2
)


def points(told: list[FromChild]) -> list[PointMade]:
    return [message for message in told if isinstance(message, PointMade)]


def test_a_run_from_rows_to_adapter(models_dir: Path, tmp_path: Path) -> None:
    told, status, printed = run_child(tmp_path, models_dir, SETTINGS)
    assert status == 0, printed
    made = [one.point for one in points(told)]
    assert [point.iteration for point in made] == [1, 2, 3, 4, 5, 6]
    assert [point.step for point in made] == [1, 2, 3, 4, 5, 6]
    assert all(math.isfinite(point.train_loss) and not point.nonfinite for point in made)
    assert [point.tokens for point in made] == sorted({point.tokens for point in made})
    assert made[0].batch_size == 8
    assert all(one.total_steps == 6 for one in points(told))

    end = told[-1]
    assert isinstance(end, Finished)
    assert end.result is not None
    assert made[0].validation_loss == end.result.validation_loss_before
    assert made[-1].validation_loss == end.result.validation_loss_after < end.result.validation_loss_before
    assert made[2].validation_loss == made[1].validation_loss != made[0].validation_loss
    phases = [message.phase.value for message in told if isinstance(message, PhaseChanged)]
    assert phases[:4] == ["preparing", "probing", "evaluating", "training"]
    assert phases[-1] == "saving"

    adapter = tmp_path / "tuned"
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(models_dir / MODEL), adapter)
    loss = validation_loss(tuned, models_dir, tmp_path)
    assert loss == pytest.approx(end.result.validation_loss_after, rel=1e-4)
    manifest = json.loads((adapter / "manifest.json").read_text())
    assert {file["path"] for file in manifest["files"]} >= {
        "adapter_model.safetensors",
        "adapter_config.json",
        "tokenizer.json",
        "README.md",
    }
    assert str(models_dir) not in (adapter / "adapter_config.json").read_text()


def validation_loss(model: PeftModel, models_dir: Path, folder: Path) -> float:
    """As the plain model's own forward computes it from labels, row by row."""
    prepared = data.prepare(folder / "rows.jsonl", load_tokenizer(models_dir / MODEL), SETTINGS)
    total, tokens = 0.0, 0
    model.eval()
    with torch.no_grad():
        for one in prepared.validation:
            ids, labels = torch.tensor([one.input_ids]), torch.tensor([one.labels])
            total += model(input_ids=ids, labels=labels).loss.item() * one.trained_tokens
            tokens += one.trained_tokens
    return total / tokens


def test_the_same_seed_gives_the_same_losses(models_dir: Path, tmp_path: Path) -> None:
    runs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        told, _, _ = run_child(tmp_path / name, models_dir, SETTINGS.model_copy(update={"max_steps": 3}))
        runs.append([one.point.train_loss for one in points(told)])
    assert runs[0] == runs[1]


def test_the_loss_at_answers_alone_is_the_models_own(models_dir: Path, tmp_path: Path) -> None:
    model = add_lora(load_model(models_dir / MODEL, torch.float32), Hyperparameters())
    tokenizer = load_tokenizer(models_dir / MODEL)
    write_rows(tmp_path / "rows.jsonl", 20)
    rows = data.prepare(tmp_path / "rows.jsonl", tokenizer, Hyperparameters()).train
    batch = data.collate([{"input_ids": row.input_ids, "labels": row.labels} for row in rows])
    own = model(**batch).loss
    ours = token_loss.answer_loss_sum(model, batch) / token_loss.count_targets(batch)
    whole = token_loss.whole_loss_sum(model, batch) / token_loss.count_targets(batch)
    assert ours.item() == pytest.approx(own.item(), abs=1e-4)
    assert whole.item() == pytest.approx(own.item(), abs=1e-4)
    assert token_loss.can_skip_questions(model, batch)


def test_a_cancel_stops_at_a_step_boundary(models_dir: Path, tmp_path: Path) -> None:
    def cancel_at_the_third(message: FromChild, child: subprocess.Popen[bytes]) -> None:
        if isinstance(message, PointMade) and message.point.iteration == 3 and child.stdin is not None:
            child.stdin.write(Command(wanted=Wanted.CANCEL).to_json() + b"\n")
            child.stdin.flush()

    long = SETTINGS.model_copy(update={"max_steps": 100_000, "eval_steps": 1_000_000})
    told, status, _ = run_child(tmp_path, models_dir, long, cancel_at_the_third)
    made = [one.point.iteration for one in points(told)]
    assert status == 0
    assert told[-1] == Stopped(wanted=Wanted.CANCEL)
    assert made == list(range(1, len(made) + 1))
    assert 3 <= len(made) < 1000
    assert not (tmp_path / "tuned").exists()


@pytest.mark.parametrize(
    ("changed", "model", "code"),
    [
        ({}, "local/none", "model_not_found"),
        ({}, "../tiny", "model_not_found"),
        ({"target_modules": "no_such_module"}, MODEL, "bad_settings"),
        ({"max_length": 8}, MODEL, "bad_data"),
    ],
)
def test_what_cannot_be_trained_fails_with_its_reason(
    models_dir: Path, tmp_path: Path, changed: dict[str, object], model: str, code: str
) -> None:
    told, status, _ = run_child(tmp_path, models_dir, SETTINGS.model_copy(update=changed), model=model)
    assert status == 1
    end = told[-1]
    assert isinstance(end, Failed)
    assert end.failure.code == code


def test_a_model_whose_loss_is_not_finite_fails_the_run(models_dir: Path, tmp_path: Path) -> None:
    poison(models_dir / MODEL, tmp_path / "models" / MODEL)
    told, status, _ = run_child(tmp_path, tmp_path / "models", SETTINGS)
    assert status == 1
    assert points(told) == []
    end = told[-1]
    assert isinstance(end, Failed)
    assert end.failure.code == "not_finite"
    assert (
        "validation rows was not finite before the first step, in the batch of the rows" in end.failure.detail
    )


def test_a_loss_that_is_no_number_at_a_later_step_names_the_step_and_its_rows(
    models_dir: Path, tmp_path: Path
) -> None:
    settings = SETTINGS.model_copy(update={"eval_steps": 100})
    overflow_at("Z", models_dir / MODEL, tmp_path / "models" / MODEL)
    file = tmp_path / "rows.jsonl"
    write_rows(file, 30)
    train = data.prepare(file, load_tokenizer(models_dir / MODEL), settings).train
    order = EpochOrder([len(one.input_ids) for one in train], 8, settings.seed)
    third = sorted(train[index].row for index in islice(order, 16, 24))
    lines = file.read_text().splitlines(keepends=True)
    # As long as it was, so that the order stays.
    lines[third[3] - 1] = lines[third[3] - 1].replace("What", "Zhat")
    file.write_text("".join(lines))
    told, status, _ = run_child(tmp_path, tmp_path / "models", settings)
    assert status == 1
    made = [(one.point.step, one.point.nonfinite) for one in points(told)]
    assert made == [(1, False), (2, False), (3, True)]
    end = told[-1]
    assert isinstance(end, Failed)
    assert end.failure.code == "not_finite"
    rows = ", ".join(str(row) for row in third)
    assert f"not finite at step 3, which trained on the rows {rows}." in end.failure.detail


def test_a_point_that_is_not_finite_keeps_the_last_finite_loss_and_ends_the_run() -> None:
    told: list[FromChild] = []
    callback = Points(told.append, threading.Event(), EnergyMeter("cpu"))
    callback.trainer = SimpleNamespace(step_tokens=10, step_rows=[7, 4])
    callback.validation_loss = 3.0
    arguments = SimpleNamespace(fp16=False)
    state, control = TrainerState(max_steps=9, num_train_epochs=1), TrainerControl()
    state.global_step, state.epoch = 1, 0.1
    callback.on_log(arguments, state, control, {"loss": 2.5, "learning_rate": 1e-4, "grad_norm": 1.0})
    state.global_step = 2
    with pytest.raises(RunFailed, match="step 2, which trained on the rows 4, 7"):
        callback.on_log(
            arguments, state, control, {"loss": math.nan, "learning_rate": 1e-4, "grad_norm": math.inf}
        )
    first, second = points(told)
    assert (first.point.train_loss, first.point.nonfinite) == (2.5, False)
    assert (second.point.train_loss, second.point.nonfinite, second.point.grad_norm) == (2.5, True, 0.0)


def test_a_validation_loss_that_is_no_number_is_not_laid_to_rows_that_were_trained_on() -> None:
    callback = Points(lambda _: None, threading.Event(), EnergyMeter("cpu"))
    state = TrainerState(max_steps=9, num_train_epochs=1)
    state.global_step = 2
    said = "The loss of the validation rows was not finite after step 2"
    # Of a run on several devices another process may know which.
    for nonfinite, expected in (([], f"{said}."), ([3, 9], f"{said}, in the batch of the rows 3, 9.")):
        callback.trainer = SimpleNamespace(step_tokens=10, step_rows=[7, 4], nonfinite_rows=nonfinite)
        with pytest.raises(RunFailed) as failed:
            callback.on_evaluate(SimpleNamespace(), state, TrainerControl(), {"eval_loss": math.inf})
        assert str(failed.value) == expected


def poison(model: Path, copy: Path) -> None:
    """A copy whose last normalisation overflows."""
    loaded = AutoModelForCausalLM.from_pretrained(model)
    with torch.no_grad():
        loaded.model.norm.weight.fill_(float("inf"))
    save_copy(loaded, model, copy)


def overflow_at(token: str, model: Path, copy: Path) -> None:
    """A copy that overflows where it reads the token; what it answers otherwise is the same."""
    loaded = AutoModelForCausalLM.from_pretrained(model)
    read = loaded.get_input_embeddings().weight
    loaded.config.tie_word_embeddings = False
    loaded.lm_head.weight = torch.nn.Parameter(read.detach().clone())
    with torch.no_grad():
        read[load_tokenizer(model).convert_tokens_to_ids(token)] = float("inf")
    save_copy(loaded, model, copy)


def save_copy(loaded: Any, model: Path, copy: Path) -> None:
    loaded.save_pretrained(copy)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (copy / name).write_bytes((model / name).read_bytes())


def test_the_service_does_not_import_torch() -> None:
    code = (
        "import sys, tunedeck_trainer.app; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, env=os.environ).returncode == 0


def test_the_training_process_imports_neither_bus_nor_database() -> None:
    code = (
        "import sys, tunedeck_trainer.child, tunedeck_trainer.recipe;"
        "sys.exit(any(name in sys.modules for name in ('nats', 'faststream', 'pymongo')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
