"""The tiny model, built once."""

from pathlib import Path

import pytest

from tests.support.tiny_model import build_tiny_model
from tests.unit.trainer.child_runs import MODEL


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    build_tiny_model(folder / MODEL)
    return folder
