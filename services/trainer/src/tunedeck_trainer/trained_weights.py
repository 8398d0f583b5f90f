"""The weights that a run trains, to a file of safetensors and back."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from tunedeck_trainer.checkpoint_files import TornCheckpoint


def save_weights(model: Any, file: Path) -> None:
    """Write every parameter that is trained; the base model's other weights are not among them."""
    save_file({name: one.detach().contiguous() for name, one in _trained(model)}, file)


def load_weights(file: Path, model: Any) -> None:
    """Put the weights of a file into the parameters that are trained."""
    stored = load_file(file)
    with torch.no_grad():
        for name, parameter in _trained(model):
            parameter.copy_(stored[name])


def check_weights(file: Path, model: Any) -> None:
    """Look through a file without loading it.

    Raises:
        TornCheckpoint: it cannot be read, or has other weights than the model trains.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            stored = {name: list(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise TornCheckpoint(f"{file.name} cannot be read: {error}") from error
    if stored != {name: list(one.shape) for name, one in _trained(model)}:
        raise TornCheckpoint(f"{file.name} has other weights than this run trains.")


def _trained(model: Any) -> Iterator[tuple[str, torch.nn.Parameter]]:
    return ((name, one) for name, one in model.named_parameters() if one.requires_grad)
