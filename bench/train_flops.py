"""The floating-point operations that a step of ours executes, beside what the machine does in `torch.mm`."""

import time
from collections.abc import Sequence
from typing import Any

import torch

from bench.train_setup import SETTINGS, Setup
from tunedeck_trainer.data import collate
from tunedeck_trainer.order import EpochOrder
from tunedeck_trainer.row_tokens import Example
from tunedeck_trainer.shared_prefix import packed

_MM_SECONDS = 4.0


def batches(setup: Setup) -> list[list[Example]]:
    """The first epoch's batches, in the order in which the trainer takes them."""
    rows = setup.prepared.train
    order = list(EpochOrder([len(row.input_ids) for row in rows], SETTINGS.batch_size, SETTINGS.seed))
    size = SETTINGS.batch_size
    return [[rows[place] for place in order[at : at + size]] for at in range(0, len(order), size)]


def shared(batch: Sequence[Example], setup: Setup) -> int:
    """How many tokens at the head of these rows are computed once; 0 for none."""
    columns = [{"input_ids": one.input_ids, "labels": one.labels} for one in batch]
    made = packed(collate(columns))
    return 0 if made is None else made.mask.shape[-1] - made.mask.shape[-2]


def positions(batch: Sequence[Example], prefix: int) -> int:
    """Unpadded positions that go through the layers."""
    return prefix + sum(len(row.input_ids) - prefix for row in batch)


def flops(batch: Sequence[Example], prefix: int, model: Any) -> float:
    """Of a forward and a backward pass.

    4 per frozen weight of a layer and position (a product forward, one backward for the input's gradient;
    none for the weight's), 4 per weight of the output layer and label, 12 per pair of positions and head's
    width in attention. LoRA's own products, some 3 % more, are left out, as are norms and activations.
    """
    config = model.config
    layers = sum(
        one.weight.numel() for one in model.model.layers.modules() if isinstance(one, torch.nn.Linear)
    )
    output = model.get_output_embeddings().weight.numel()
    labels = sum(row.trained_tokens for row in batch)
    width = config.num_attention_heads * config.head_dim
    before = prefix * (prefix + 1) / 2
    pairs = before + sum(len(row.input_ids) * (len(row.input_ids) + 1) / 2 - before for row in batch)
    attention = 12 * pairs * width * config.num_hidden_layers
    return 4 * layers * positions(batch, prefix) + 4 * output * labels + attention


def mm_rate(rows: int, config: Any, setup: Setup) -> float:
    """FLOP/s of `torch.mm` at (rows, hidden width, width of the feed-forward layer)."""
    device = "cuda" if setup.on_gpu else "cpu"
    shapes = (rows, config.hidden_size), (config.hidden_size, config.intermediate_size)
    left, right = (torch.randn(shape, device=device, dtype=setup.dtype) for shape in shapes)

    def done(times: int) -> float:
        began = time.perf_counter()
        for _ in range(times):
            torch.mm(left, right)
        if setup.on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter() - began

    done(10)
    times = max(10, int(_MM_SECONDS / (done(10) / 10)))
    return 2 * rows * config.hidden_size * config.intermediate_size * times / done(times)
