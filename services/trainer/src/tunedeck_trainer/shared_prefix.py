"""Rows that begin with the same tokens, as one sequence in which that beginning stands once.

The chat form puts the same tokens (a system message, the head of the question) before every row: of a short
question with its answer they are nearly half. Behind them nothing of another row is seen, so that each row's
hidden states, and the sum of the gradients, are those of the padded batch, up to rounding.

A packed sequence has `prefix + rows * rest` positions: the shared tokens, then each row's others, padded on
the right to the longest (causal attention never looks at what follows).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from tunedeck_trainer.row_tokens import IGNORED

ATTENTION = "sdpa_of_shared_prefix"
"""transformers' name for the attention below; of a plain batch it is its own `sdpa`."""

_WORTH = 0.05
"""The share of a batch's positions that has to be saved: below, the mask costs what they would."""

_DROPOUT = ("dropout", "pdrop", "layerdrop")
"""In the names of a configuration's probabilities."""


@dataclass(frozen=True)
class Packed:
    """One sequence for a batch of rows.

    `input_ids` and `position_ids` are (1, prefix + rows * rest), `mask` (1, 1, rest, prefix + rest) is true
    where a row's position looks, and `labels` (rows, rest) are those of the rows behind the prefix.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor

    def of_rows(self, hidden: torch.Tensor) -> torch.Tensor:
        """What (1, positions, width) holds behind the prefix: (rows, rest, width)."""
        rows, rest = self.labels.shape
        return hidden[0, hidden.shape[1] - rows * rest :].unflatten(0, (rows, rest))


def packed(inputs: dict[str, torch.Tensor]) -> Packed | None:
    """The batch with its shared beginning once; None where that saves too little.

    `inputs` are padded on the right: `input_ids` and `labels`, each (rows, tokens).
    """
    ids, labels = inputs["input_ids"], inputs["labels"]
    rows, tokens = ids.shape
    # The prefix ends where the first row has a label for its next token: the prefix predicts none.
    differs = (ids != ids[0]).any(dim=0)
    differs[:-1] |= (labels[:, 1:] != IGNORED).any(dim=0)
    differs[-1] = True
    prefix = int(differs.int().argmax())
    if prefix * (rows - 1) < _WORTH * rows * tokens:
        return None
    rest = tokens - prefix
    places = torch.arange(tokens, device=ids.device)
    return Packed(
        input_ids=torch.cat([ids[0, :prefix], ids[:, prefix:].flatten()])[None],
        position_ids=torch.cat([places[:prefix], places[prefix:].repeat(rows)])[None],
        mask=torch.ones(rest, tokens, dtype=torch.bool, device=ids.device).tril(prefix)[None, None],
        labels=labels[:, prefix:],
    )


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of a packed sequence, told by its mask, which is smaller than the sequence; else `sdpa`.

    `query` is (1, heads, positions, width), `key` and `value` have as many heads or a divisor; the result is
    (1, positions, heads, width).
    """
    positions = query.shape[2]
    if attention_mask is None or attention_mask.shape[-1] == key.shape[2]:
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
    rest, tokens = attention_mask.shape[-2:]
    prefix = tokens - rest
    grouped = key.shape[1] != query.shape[1]
    # In two parts at once: the gradient of a slice is a tensor of zeros as large as the whole, and a sum.
    (query, of_query), (key, of_key), (value, of_value) = (
        states.split([prefix, positions - prefix], dim=2) for states in (query, key, value)
    )

    def of_rows(states: torch.Tensor) -> torch.Tensor:
        return states.squeeze(0).unflatten(1, (-1, rest)).transpose(0, 1)

    def of_rows_with(beginning: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        own = of_rows(states)
        return torch.cat([beginning.expand(len(own), -1, -1, -1), own], dim=2)

    shared = functional.scaled_dot_product_attention(
        query, key, value, is_causal=True, scale=scaling, enable_gqa=grouped
    )
    own = functional.scaled_dot_product_attention(
        of_rows(of_query),
        of_rows_with(key, of_key),
        of_rows_with(value, of_value),
        attn_mask=attention_mask,
        scale=scaling,
        enable_gqa=grouped,
    )
    seen = torch.cat([shared.squeeze(0).transpose(0, 1), own.transpose(1, 2).flatten(0, 1)])
    return seen.view(1, positions, *seen.shape[1:]), None


def attend_shared(model: Any) -> str | None:
    """Let a causal model's attention take packed sequences beside plain batches; the name of its former one.

    None, and nothing is changed, for a model with dropout, whose rows would no longer be independent, with
    layers that do not look at all that went before, or whose attention is not transformers' `sdpa`. Nor is
    anything shared on a GPU: there, attention with a mask of its own and grouped heads may be computed with
    memory quadratic in the tokens, and it is not measured.
    """
    # Of a model that also sees or hears, what its text goes through.
    config = model.config.get_text_config()
    if model.device.type != "cpu" or _drops(model, config) or getattr(config, "sliding_window", None):
        return None
    if set(getattr(config, "layer_types", None) or ()) - {"full_attention"}:
        return None
    former: str = config._attn_implementation
    if former not in ("sdpa", ATTENTION):
        return None
    model.set_attn_implementation(ATTENTION)
    return former if config._attn_implementation == ATTENTION else None


def _drops(model: Any, config: Any) -> bool:
    """Whether some of what the model computes is left out at random, by its modules or its configuration."""
    return any(isinstance(one, torch.nn.Dropout) and one.p > 0 for one in model.modules()) or any(
        isinstance(value, int | float) and value > 0 and any(word in name for word in _DROPOUT)
        for name, value in config.to_dict().items()
    )


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
