"""The tiny model, built once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.tiny_model import build_tiny_gpt2, build_tiny_model
from tests.unit.trainer.child_runs import MODEL
from tests.unit.trainer.place import Place
from tests.unit.trainer.resume_runs import GPT2


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
