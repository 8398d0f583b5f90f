"""How much memory a model's weights take, by the headers of its safetensors, before they are loaded."""

import json
import math
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from tunedeck_contracts.failures import FailureCode
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_trainer.failures import RunFailed
from tunedeck_trainer.precision import weight_dtype

_FOUR_BITS = 0.516
"""Bytes a number: NF4 with scales that are quantised themselves (QLoRA, arXiv:2305.14314, section 3)."""

_NOT_QUANTISED = ("embed", "wte", "wpe", "lm_head", "norm", "bias")
"""In the names of the weights that bitsandbytes leaves as they are."""

_PACKED = ("U8", "I8")
"""Of weights that were quantised before."""

_GIB = 2**30


def weight_bytes(folder: Path, dtype: torch.dtype, *, in_four_bits: bool) -> int:
    """Of the weights that transformers loads of a model folder, in this type, or in 4 bits.

    Raises:
        RunFailed: a file of them is none.
    """
    size = 0.0
    for file in _files(folder):
        try:
            with safe_open(file, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118
                    part = opened.get_slice(name)
                    if part.get_dtype() in _PACKED:
                        each = 1.0
                    else:
                        is_small = in_four_bits and not any(one in name for one in _NOT_QUANTISED)
                        each = _FOUR_BITS if is_small else dtype.itemsize
                    size += math.prod(part.get_shape()) * each
        except (SafetensorError, OSError) as error:
            raise RunFailed(
                FailureCode.MODEL_NOT_FOUND, f"The model cannot be loaded: {file.name}: {error}"
            ) from error
    return int(size)


def _files(folder: Path) -> list[Path]:
    """One file, or the parts that its index names; others beside them are copies."""
    whole, index = folder / SAFE_WEIGHTS_NAME, folder / SAFE_WEIGHTS_INDEX_NAME
    if whole.is_file() or not index.is_file():
        return [whole] if whole.is_file() else sorted(folder.glob("*.safetensors"))
    try:
        named = json.loads(index.read_bytes())["weight_map"].values()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunFailed(
            FailureCode.MODEL_NOT_FOUND, f"The model cannot be loaded: {index.name}: {error!r}"
        ) from error
    return [folder / name for name in sorted(set(named))]


def check_room(folder: Path, settings: Hyperparameters, compute: torch.dtype, free: int) -> None:
    """Refuse a model whose weights alone do not fit: Linux would end the process in the middle of loading.

    Raises:
        RunFailed: they take more than the `free` bytes.
    """
    dtype = weight_dtype(settings, compute)
    needed = weight_bytes(folder, dtype, in_four_bits=settings.method == "qlora")
    if needed > free:
        in_place = ", or lora in place of full" if settings.method == "full" else ""
        raise RunFailed(
            FailureCode.OUT_OF_MEMORY,
            f"The weights alone take {needed / _GIB:.1f} GiB, and {free / _GIB:.1f} GiB are free here: "
            f"choose a smaller model{in_place}, or give the trainer more memory.",
        )
