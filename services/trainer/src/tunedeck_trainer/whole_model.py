"""A whole model as a folder, as transformers writes one."""

from pathlib import Path
from typing import Any

_FOR_SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "top_h",
    "typical_p",
    "epsilon_cutoff",
    "eta_cutoff",
)


def save_whole(model: Any, folder: Path) -> None:
    """Write configuration, weights and generation settings.

    Of those some published models have some that contradict each other. transformers heeds none of these when
    it generates, and refuses to write them once anything in the settings was changed, which a tokenizer's
    tokens do: they are left out.
    """
    settings = model.generation_config
    if settings is not None:
        if settings.do_sample is not True:
            settings.update(**dict.fromkeys(_FOR_SAMPLING))
        if settings.pad_token_id is not None and settings.pad_token_id < 0:
            settings.update(pad_token_id=None)
    model.save_pretrained(folder)
