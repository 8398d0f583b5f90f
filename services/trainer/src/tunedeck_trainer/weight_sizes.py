"""How much memory a model's weights take, by the headers of its safetensors, before they are loaded."""

import json
import math
from pathlib import Path

import torch

from tunedeck_contracts.failures import FailureCode
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_trainer.failures import RunFailed
from tunedeck_trainer.precision import weight_dtype

_FOUR_BITS = 0.516
"""Bytes a number: NF4 with scales that are quantised themselves (QLoRA, arXiv:2305.14314, section 3)."""

_NOT_QUANTISED = ("embed", "wte", "wpe", "lm_head", "norm", "bias")
"""In the names of the weights that bitsandbytes leaves as they are."""

_GIB = 2**30


def weight_bytes(folder: Path, dtype: torch.dtype, *, in_four_bits: bool) -> int:
    """Of all weights of a model folder, once they are loaded in this type, or in 4 bits."""
    size = 0.0
    for file in folder.glob("*.safetensors"):
        with file.open("rb") as opened:
            header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
        for name, one in header.items():
            if name != "__metadata__":
                is_small = in_four_bits and not any(part in name for part in _NOT_QUANTISED)
                size += math.prod(one["shape"]) * (_FOUR_BITS if is_small else dtype.itemsize)
    return int(size)


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
