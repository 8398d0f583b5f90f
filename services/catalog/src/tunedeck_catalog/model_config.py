"""What a model's config.json says."""

from typing import Any

# Llama and most others; GPT-2; MPT. Where text is one of several inputs, it has a part of its own.
_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len")
_TEXT_PART = "text_config"


def context_length(config: Any) -> int | None:
    """Positions that the configuration names; None when it names none, or is no configuration."""
    if not isinstance(config, dict):
        return None
    for name in _LENGTHS:
        found = config.get(name)
        if type(found) is int and found > 0:
            return found
    return context_length(config.get(_TEXT_PART))
