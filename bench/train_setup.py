"""What every side of the training benchmark shares: model, rows, tokens, settings, and how it is judged."""

import csv
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from tunedeck_cli import bundled_model
from tunedeck_cli.home import Home
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_trainer import data, token_loss
from tunedeck_trainer.model_config import load_config, positions
from tunedeck_trainer.model_loading import add_lora, load_model
from tunedeck_trainer.tokenizer_loading import load_tokenizer

STEPS = 24
WARM_UP = 4
"""Steps before the clock starts: libraries choose their ways, and memory is taken from the system."""

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "python-docs.csv"
OF_1B = "local/llama-1b"
"""The larger model: a Llama of 1.1 billion random weights, whose speed is that of a trained one."""

SETTINGS = Hyperparameters(
    max_steps=STEPS,
    batch_size=8,
    learning_rate=2e-4,
    scheduler="cosine",
    lora_r=8,
    lora_alpha=16,
    target_modules="all-linear",
    eval_steps=1_000_000,
    save_steps=1_000_000,
    validation_rows=96,
    seed=42,
)


@dataclass(frozen=True)
class Setup:
    """A folder with `models` and `rows.jsonl`, and the model of it that is trained."""

    folder: Path
    model: str = bundled_model.MODEL_ID

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def rows(self) -> Path:
        return self.folder / "rows.jsonl"

    @property
    def on_gpu(self) -> bool:
        return torch.cuda.is_available()

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.on_gpu else torch.float32

    @cached_property
    def tokenizer(self) -> Any:
        return load_tokenizer(self.models / self.model)

    @cached_property
    def prepared(self) -> data.Prepared:
        """The trainer's own tokens and split, which every side gets."""
        config = load_config(self.models / self.model)
        return data.prepare(self.rows, self.tokenizer, SETTINGS, positions(config))

    def base(self) -> Any:
        """The model before it is trained."""
        model = load_model(self.models / self.model, self.dtype)
        return model.to("cuda") if self.on_gpu else model

    def with_lora(self) -> Any:
        """The same with fresh LoRA matrices by peft."""
        return add_lora(self.base(), SETTINGS)

    def validation_loss(self, model: Any) -> float:
        """Mean loss per answer token over the validation rows, by the model's own forward; in nats."""
        model.eval()
        columns = [{"input_ids": one.input_ids, "labels": one.labels} for one in self.prepared.validation]
        total, tokens = 0.0, 0
        device = next(model.parameters()).device
        with torch.no_grad(), torch.autocast(device.type, self.dtype, enabled=self.on_gpu):
            for at in range(0, len(columns), 8):
                batch = data.collate(columns[at : at + 8])
                batch = {name: one.to(device) for name, one in batch.items()}
                total += token_loss.whole_loss_sum(model, batch).item()
                tokens += token_loss.count_targets(batch)
        return total / tokens


def prepared_folder(folder: Path) -> Setup:
    """Lay out the folder. `TUNEDECK_BENCH_MODEL=1b` takes the larger model, for a GPU."""
    setup = Setup(folder, OF_1B if os.environ.get("TUNEDECK_BENCH_MODEL") == "1b" else bundled_model.MODEL_ID)
    installed = Home.from_environment().models
    bundled_model.prepare(installed)
    link_model(setup.models, bundled_model.MODEL_ID, installed)
    if setup.model == OF_1B:
        _initialise(setup)
    with EXAMPLES.open(newline="", encoding="utf-8") as file:
        rows = [json.dumps(row) for row in csv.DictReader(file)]
    setup.rows.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return setup


def link_model(models: Path, name: str, source: Path) -> None:
    """Have a folder of models hold one of another."""
    link = models / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to((source / name).resolve())


def _initialise(setup: Setup) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    target = setup.models / setup.model
    tokenizer = load_tokenizer(setup.models / bundled_model.MODEL_ID)
    tokenizer.save_pretrained(target)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=2048,
        intermediate_size=5632,
        num_hidden_layers=22,
        num_attention_heads=32,
        num_key_value_heads=4,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(target)
