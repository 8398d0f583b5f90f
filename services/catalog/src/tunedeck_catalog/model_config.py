"""What a model's config.json says."""

from typing import Any

from tunedeck_contracts.models import LONGEST_CONTEXT

# Llama and most others; GPT-2; MPT. Where text is one of several inputs, it has a part of its own.
_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len")
_TEXT_PART = "text_config"


def context_length(config: Any) -> int | None:
    """Positions that the configuration names; None when it names none, or is no configuration."""
    if not isinstance(config, dict):
        return None
    parts = [part for part in (config, config.get(_TEXT_PART)) if isinstance(part, dict)]
    named = (positions(part.get(name)) for part in parts for name in _LENGTHS)
    return next((found for found in named if found is not None), None)


def positions(value: Any) -> int | None:
    """The value, if it can be a number of positions."""
    return value if type(value) is int and 0 < value <= LONGEST_CONTEXT else None
