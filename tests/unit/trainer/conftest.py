"""The tiny model, built once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.tiny_model import build_tiny_gpt2, build_tiny_model
from tests.unit.trainer.child_runs import MODEL, write_rows
from tests.unit.trainer.place import Place
from tests.unit.trainer.resume_runs import GPT2
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_trainer import data
from tunedeck_trainer.model_loading import add_lora, load_model
from tunedeck_trainer.tokenizer_loading import load_tokenizer

SETTINGS = Hyperparameters(max_length=64)


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    build_tiny_model(folder / MODEL)
    return folder


@pytest.fixture(scope="session")
def gpt2_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models_gpt2")
    build_tiny_gpt2(folder / GPT2)
    return folder


@pytest.fixture
def place(tmp_path: Path, models_dir: Path) -> Iterator[Place]:
    made = Place(tmp_path, models_dir)
    yield made
    made.journal.close()


@pytest.fixture(scope="session")
def batches(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, torch.Tensor]]:
    """Of four rows that begin alike and differ in length."""
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write_rows(file, 90)
    tokenizer = load_tokenizer(models_dir / MODEL)
    rows = data.prepare(file, tokenizer, SETTINGS).train
    columns = [{"input_ids": row.input_ids, "labels": row.labels} for row in rows]
    return [data.collate(columns[at : at + 4]) for at in range(0, 80, 4)]


@pytest.fixture(scope="session")
def plain(models_dir: Path) -> Any:
    """peft's own model, whose B is no longer zero, so that every gradient counts."""
    torch.manual_seed(1)
    model = add_lora(load_model(models_dir / MODEL, torch.float32), SETTINGS)
    for name, one in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(one, std=0.1)
    return model
