"""What a model's weights take, before they are loaded."""

import shutil
from pathlib import Path

import pytest
import torch

from tests.unit.trainer.child_runs import MODEL
from tunedeck_contracts.failures import FailureCode
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_trainer.failures import RunFailed
from tunedeck_trainer.model_loading import load_model
from tunedeck_trainer.weight_sizes import check_room, weight_bytes


def test_it_is_what_the_loaded_model_has(models_dir: Path) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        model = load_model(models_dir / MODEL, dtype)
        loaded = sum(one.numel() * one.element_size() for one in model.parameters())
        assert weight_bytes(models_dir / MODEL, dtype, in_four_bits=False) == loaded


def test_in_four_bits_only_what_is_multiplied_is_smaller(models_dir: Path) -> None:
    model = load_model(models_dir / MODEL, torch.bfloat16)
    linear = sum(
        one.weight.numel() for one in model.get_decoder().modules() if isinstance(one, torch.nn.Linear)
    )
    rest = sum(one.numel() for one in model.parameters()) - linear
    found = weight_bytes(models_dir / MODEL, torch.bfloat16, in_four_bits=True)
    assert 2 * rest + linear / 2 < found < 2 * rest + 0.53 * linear


def test_a_copy_beside_the_weights_does_not_count(models_dir: Path, tmp_path: Path) -> None:
    counted = weight_bytes(models_dir / MODEL, torch.float32, in_four_bits=False)
    shutil.copytree(models_dir / MODEL, tmp_path / "model")
    shutil.copy(tmp_path / "model/model.safetensors", tmp_path / "model/consolidated.safetensors")
    assert weight_bytes(tmp_path / "model", torch.float32, in_four_bits=False) == counted
    load_model(models_dir / MODEL, torch.float32).save_pretrained(tmp_path / "parts", max_shard_size="100KB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 1
    assert weight_bytes(tmp_path / "parts", torch.float32, in_four_bits=False) == counted


@pytest.mark.parametrize("content", [b"version https://git-lfs.github.com/spec/v1\n", b"", b"<html>"])
def test_a_file_that_holds_no_weights_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(RunFailed, match=r"The model cannot be loaded: model\.safetensors") as failed:
        weight_bytes(tmp_path, torch.float32, in_four_bits=False)
    assert failed.value.code is FailureCode.MODEL_NOT_FOUND


def test_weights_that_do_not_fit_are_refused_with_what_to_change(models_dir: Path) -> None:
    folder, full = models_dir / MODEL, Hyperparameters(method="full")
    needed = weight_bytes(folder, torch.float32, in_four_bits=False)
    check_room(folder, full, torch.bfloat16, needed)
    with pytest.raises(RunFailed, match=r"The weights alone take .* or lora in place of full") as failed:
        check_room(folder, full, torch.bfloat16, needed - 1)
    assert failed.value.code is FailureCode.OUT_OF_MEMORY
    # What lora keeps frozen is loaded in the numbers of the computation.
    check_room(folder, Hyperparameters(), torch.bfloat16, needed // 2)
