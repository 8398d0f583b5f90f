"""A preview shows what a run reads first: the same rows, tokens and labels, by the same code."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unit.trainer.child_runs import MODEL, a_run, write_rows
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.jobs import Status
from tunedeck_contracts.plans import Plan
from tunedeck_contracts.previews import JobPreview, PreviewedRow
from tunedeck_trainer import data, row_tokens
from tunedeck_trainer.energy import EnergyMeter
from tunedeck_trainer.model_loading import load_model
from tunedeck_trainer.points import Points
from tunedeck_trainer.preview_question import PreviewQuestion
from tunedeck_trainer.previewing import preview, shown
from tunedeck_trainer.recipe import build_trainer, training_arguments
from tunedeck_trainer.tokenizer_loading import load_tokenizer

SETTINGS = Hyperparameters(max_steps=1, batch_size=3, gradient_accumulation_steps=2, max_length=90, seed=5)


@pytest.fixture(scope="module")
def tokenizer(models_dir: Path) -> Any:
    return load_tokenizer(models_dir / MODEL)


@pytest.fixture(scope="module")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of different lengths; row 31 is cut in its answer, row 32 before it."""
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    rows = [{"input": f"What is {n}?" + " Say." * (n % 7), "output": f"It is {n}, ü✓."} for n in range(30)]
    rows += [{"input": "Long?", "output": "long " * 40}, {"input": "Why? " * 40, "output": "So."}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def asked(models_dir: Path, rows_file: Path, settings: Hyperparameters) -> PreviewQuestion:
    run = a_run(settings)
    plan = Plan(
        job_uid=run.job_uid,
        model=run.model,
        dataset=run.dataset,
        hyperparameters=settings,
        status=Status.CREATED,
    )
    return PreviewQuestion(plan=plan, models_dir=models_dir, rows_file=rows_file)


def test_it_is_the_first_batch_of_a_real_run(models_dir: Path, rows_file: Path, tmp_path: Path) -> None:
    told = preview(asked(models_dir, rows_file, SETTINGS))
    first = read_first(models_dir, rows_file, tmp_path)
    assert [row.row for row in told.rows] == first["rows"].tolist()
    assert len(told.rows) == told.batch_size == 3
    for position, row in enumerate(told.rows):
        is_read = first["attention_mask"][position].bool()
        labels = first["labels"][position][is_read].tolist()
        assert [token.id for token in row.tokens] == first["input_ids"][position][is_read].tolist()
        assert [token.trained for token in row.tokens] == [label != row_tokens.IGNORED for label in labels]
        assert row.padding == (~is_read).sum()
        assert row.trained_token_count == sum(token.trained for token in row.tokens) > 0


def read_first(models_dir: Path, rows_file: Path, folder: Path) -> dict[str, torch.Tensor]:
    """The first batch that the model of a real run is called with; it trains its step to the end."""
    tokenizer = load_tokenizer(models_dir / MODEL)
    prepared = data.prepare(rows_file, tokenizer, SETTINGS)
    arguments = training_arguments(SETTINGS, folder, on_gpu=False, compute=torch.float32)
    points = Points(lambda _: None, threading.Event(), EnergyMeter("cpu"))
    trainer = build_trainer(
        load_model(models_dir / MODEL, torch.float32),
        tokenizer,
        prepared,
        arguments,
        points,
        threading.Event(),
    )
    seen: list[dict[str, torch.Tensor]] = []
    of_trainer = trainer.compute_loss

    def note(model: Any, inputs: dict[str, torch.Tensor], *rest: Any, **options: Any) -> Any:
        seen.append(dict(inputs))
        return of_trainer(model, inputs, *rest, **options)

    trainer.compute_loss = note  # type: ignore[method-assign]
    trainer.train()
    assert trainer.step_rows[:3] == seen[0]["rows"].tolist()
    assert len(trainer.step_rows) == 6
    return seen[0]


def test_it_counts_what_is_cut_and_left_out_of_the_whole_dataset(models_dir: Path, rows_file: Path) -> None:
    told = preview(asked(models_dir, rows_file, SETTINGS))
    assert (told.template, told.form) == (
        "chat_template",
        "Rows are written by the model's own chat template.",
    )
    assert (told.truncated_rows, told.untrainable_rows, told.untrainable_row_numbers) == (2, 1, [32])
    assert told.train_rows + told.validation_rows == 31
    assert (told.max_length, told.seed, told.gradient_accumulation_steps) == (90, 5, 2)
    assert told.tokens_left_out == 0


def test_the_tokens_of_a_row_spell_what_the_model_reads(tokenizer: Any) -> None:
    row = one(tokenizer, "How?", "So: ü✓.")
    assert "".join(token.text for token in row.tokens) == (
        "<|im_start|>user\nHow?<|im_end|>\n<|im_start|>assistant\nSo: ü✓.<|im_end|>"
    )
    assert "".join(token.text for token in row.tokens if token.trained) == "So: ü✓.<|im_end|>"
    assert [token.text for token in row.tokens].count("ü") == 1


def test_a_model_without_a_chat_template_has_its_plain_form_spelled_out(models_dir: Path) -> None:
    plain = load_tokenizer(models_dir / MODEL)
    plain.chat_template = None
    assert row_tokens.form(plain) == (
        'The model has no chat template; rows are written in a plain form: "{input}\\n{output}<|im_end|>".'
    )
    row = one(plain, "How?", "So.")
    assert "".join(token.text for token in row.tokens) == "How?\nSo.<|im_end|>"


def test_an_answer_has_a_limit_and_says_what_it_left_out(tokenizer: Any) -> None:
    examples = row_tokens.encode([row_tokens.Row(n, "How?", "So.") for n in (1, 2, 3)], tokenizer, 512)
    length = len(examples[0].input_ids)
    rows = shown(examples, tokenizer, most_tokens=length + 5)
    assert [len(row.tokens) for row in rows] == [length, 5, 0]
    assert [row.token_count for row in rows] == [length] * 3
    assert len({row.trained_token_count for row in rows}) == 1


def one(tokenizer: Any, question: str, answer: str) -> PreviewedRow:
    return shown(row_tokens.encode([row_tokens.Row(1, question, answer)], tokenizer, 512), tokenizer)[0]


def test_its_process_needs_no_weights_and_neither_bus_nor_database(models_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models" / MODEL
    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).write_bytes((models_dir / MODEL / name).read_bytes())
    write_rows(tmp_path / "rows.jsonl", 5)
    question = asked(tmp_path / "models", tmp_path / "rows.jsonl", SETTINGS)
    code = (
        "import sys, tunedeck_trainer.previewing as one\n"
        "status = one.answer(one.PreviewQuestion, one.preview)\n"
        "loaded = {'nats', 'faststream', 'pymongo', 'peft'} & set(sys.modules)\n"
        "sys.exit(status or ' '.join(loaded) or 0)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], input=question.to_json(), capture_output=True, check=False
    )
    assert ended.returncode == 0, ended.stderr.decode()
    assert len(JobPreview.model_validate_json(ended.stdout).rows) == 3
