"""The tokenizer of a model, without the model: what only counts or shows tokens loads no more."""

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from tunedeck_contracts.failures import FailureCode
from tunedeck_trainer.failures import RunFailed


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder, with a token for padding."""
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        raise RunFailed(
            FailureCode.MODEL_NOT_FOUND, f"The model's tokenizer cannot be loaded: {error}"
        ) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
