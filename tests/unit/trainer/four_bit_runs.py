"""Runs the recipe over a model in 4 bits, as on a GPU but on the CPU; prints what came of it as JSON.

In a process of its own: bitsandbytes lies where only this one finds it.
"""

import json
import sys
from pathlib import Path
from typing import Any

import bitsandbytes
import torch
from bitsandbytes.functional import dequantize_4bit

from tests.support.tiny_model import build_tiny_model
from tests.unit.trainer.child_runs import MODEL
from tests.unit.trainer.test_settings_heeded import Trained, changed
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_trainer import recipe
from tunedeck_trainer.model_loading import load_model, prepare_model

WIDTH = 64
"""bitsandbytes quantises 64 weights at a time."""


def like_a_gpu() -> None:
    """On some CPUs bitsandbytes packs weights for an evaluation into a form that passes no gradient back."""
    bitsandbytes.nn.modules.has_avx512bf16 = lambda: False
    recipe.check_method = lambda settings, on_gpu: None


def four_bit_layers(model: Any) -> dict[str, Any]:
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, bitsandbytes.nn.Linear4bit)
    }


def write_what_four_bits_hold(folder: Path, into: Path) -> dict[str, Any]:
    """The model with each quantised weight as the numbers that it stands for; how each is quantised."""
    settings = Hyperparameters(method="qlora")
    tuned = prepare_model(folder, settings, torch.float32, on_gpu=False)
    layers = four_bit_layers(tuned.get_base_model())
    plain = load_model(folder, torch.float32)
    kinds = {}
    for name, layer in layers.items():
        if not name.endswith(".base_layer"):
            continue
        state = layer.weight.quant_state
        with torch.no_grad():
            exact = dequantize_4bit(layer.weight.data, state)
            plain.get_submodule(name.removesuffix(".base_layer")).weight.copy_(exact)
        kinds[name] = [state.quant_type, state.nested]
    build_tiny_model(into, WIDTH)
    plain.save_pretrained(into)
    return kinds


def losses(folder: Path, models_dir: Path, **fields: Any) -> dict[str, Any]:
    folder.mkdir()
    trained = Trained(folder, models_dir, changed(**fields))
    return {
        "train": [point.train_loss for point in trained.points],
        "validation": [point.validation_loss for point in trained.points],
        "before": trained.result.validation_loss_before,
        "after": trained.result.validation_loss_after,
        "manifest": json.loads((trained.folder / "manifest.json").read_text()),
    }


def main(folder: Path) -> None:
    like_a_gpu()
    build_tiny_model(folder / "models" / MODEL, WIDTH)
    layers = write_what_four_bits_hold(folder / "models" / MODEL, folder / "exact" / MODEL)
    found: dict[str, Any] = {"layers": layers}
    for precision in ("fp32", "bf16"):
        for method, models in (("qlora", folder / "models"), ("lora", folder / "exact")):
            name = f"{method} {precision}"
            found[name] = losses(folder / name, models, method=method, precision=precision)
    found["lora over the model"] = losses(folder / "whole", folder / "models", precision="fp32")
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
