"""The configuration of a model, without the model: what is asked before its weights are there."""

from pathlib import Path

from transformers import AutoConfig, PretrainedConfig

from tunedeck_contracts.failures import FailureCode
from tunedeck_trainer.failures import RunFailed


def load_config(folder: Path) -> PretrainedConfig:
    """The configuration of a model folder; of a model that also sees or hears, that of its text.

    Raises:
        RunFailed: it cannot be read, or is of a kind that transformers does not know.
    """
    try:
        found = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise RunFailed(FailureCode.MODEL_NOT_FOUND, f"The model's config cannot be read: {error}") from error
    return found.get_text_config()


def positions(config: PretrainedConfig) -> int | None:
    """Tokens that the model reads; None where its configuration does not say, or names no end.

    Learned positions end there, and of others (RoPE) the model has seen no further ones.
    """
    said = getattr(config.get_text_config(), "max_position_embeddings", None)
    return int(said) if said and said > 0 else None
