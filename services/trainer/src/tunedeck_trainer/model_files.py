"""The folder of a base model: below the models folder, or downloaded from the Hub at its pinned revision."""

import json
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from tunedeck_contracts.models import ResolvedModel
from tunedeck_trainer.failures import MODEL_NOT_FOUND, RunFailed

# Weights as safetensors alone: a pickle runs code when it is loaded.
WANTED_FILES = ["*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "README.md"]


def locate(model: ResolvedModel, models_dir: Path) -> Path:
    """The folder with the model's configuration, weights and tokenizer.

    Raises:
        RunFailed: there is no such model, it has no safetensors, or it wants code of its own.
    """
    folder = _below(models_dir, model.uid) if model.source == "folder" else _downloaded(model)
    if not (folder / "config.json").is_file():
        raise RunFailed(MODEL_NOT_FOUND, f"The model {model.uid!r} has no config.json in {folder.name!r}.")
    if not any(folder.glob("*.safetensors")):
        raise RunFailed(
            MODEL_NOT_FOUND, f"The model {model.uid!r} has no weights in safetensors; no others are read."
        )
    if "auto_map" in json.loads((folder / "config.json").read_text()):
        raise RunFailed(
            MODEL_NOT_FOUND, f"The model {model.uid!r} brings code of its own, which is never run."
        )
    return folder


def _below(models_dir: Path, uid: str) -> Path:
    try:
        validate_repo_id(uid)
    except HFValidationError as error:
        raise RunFailed(MODEL_NOT_FOUND, f"{uid!r} is no model id: {error}") from error
    return models_dir / uid


def _downloaded(model: ResolvedModel) -> Path:
    try:
        return Path(snapshot_download(model.uid, revision=model.revision, allow_patterns=WANTED_FILES))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise RunFailed(
            MODEL_NOT_FOUND, f"The Hub did not give the model {model.uid!r} at {model.revision}: {error}"
        ) from error
