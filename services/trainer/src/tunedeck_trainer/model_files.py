"""The folder of a base model: below the models folder, or downloaded from the Hub at its pinned revision."""

import errno
import json
from pathlib import Path
from typing import Any

from httpx2 import HTTPError
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from tunedeck_contracts.failures import FailureCode
from tunedeck_contracts.models import ResolvedModel
from tunedeck_trainer.failures import RunFailed
from tunedeck_trainer.process import hub_token, is_sendable

# Weights as safetensors alone: a pickle runs code when it is loaded.
WANTED_FILES = ["*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "README.md"]
TOKENIZER_FILES = [one for one in WANTED_FILES if one not in ("*.safetensors", "README.md")]
# Other formats of the same model, and Mistral's second copy of the weights.
UNWANTED_FILES = ["*/*", "consolidated*"]

_QUANTISED_FOR_ANSWERS = ("gptq", "awq", "aqlm", "compressed-tensors", "eetq", "fp8", "fbgemm_fp8")
"""Each needs a package of its own, and none of them is trained."""


def locate(model: ResolvedModel, models_dir: Path) -> Path:
    """The folder with the model's configuration, weights and tokenizer.

    Raises:
        RunFailed: there is no such model, it has no safetensors, it needs code of its own, or the
            Hub does not give it.
    """
    folder = _found(model, models_dir, WANTED_FILES)
    if not any(folder.glob("*.safetensors")):
        raise RunFailed(
            FailureCode.MODEL_NOT_FOUND,
            f"The model {model.uid!r} has no weights in safetensors; no others are read.",
        )
    return folder


def locate_tokenizer(model: ResolvedModel, models_dir: Path) -> Path:
    """The folder with the model's configuration and tokenizer; its weights are not asked for.

    Raises:
        RunFailed: as `locate`, but for the weights.
    """
    return _found(model, models_dir, TOKENIZER_FILES)


def _found(model: ResolvedModel, models_dir: Path, wanted: list[str]) -> Path:
    folder = _below(models_dir, model.uid) if model.source == "folder" else _downloaded(model, wanted)
    if not (folder / "config.json").is_file():
        raise RunFailed(
            FailureCode.MODEL_NOT_FOUND, f"The model {model.uid!r} has no config.json in {folder.name!r}."
        )
    config = _config(model.uid, folder)
    if "auto_map" in config and not _is_known(config):
        raise RunFailed(
            FailureCode.MODEL_NOT_FOUND,
            f"The model {model.uid!r} brings code of its own, which is never run, and its model_type is none "
            "of transformers': choose a model of a kind that transformers knows.",
        )
    quantised = config.get("quantization_config")
    method = quantised.get("quant_method") if isinstance(quantised, dict) else None
    if method in _QUANTISED_FOR_ANSWERS:
        raise RunFailed(
            FailureCode.MODEL_NOT_FOUND,
            f"The weights of the model {model.uid!r} are quantised by {method!r} already, which is not read "
            "here: choose the repository that has them whole.",
        )
    return folder


def _below(models_dir: Path, uid: str) -> Path:
    try:
        validate_repo_id(uid)
    except HFValidationError as error:
        raise RunFailed(FailureCode.MODEL_NOT_FOUND, f"{uid!r} is no model id: {error}") from error
    return models_dir / uid


def _downloaded(model: ResolvedModel, wanted: list[str]) -> Path:
    """The snapshot of the pinned commit, from the Hub that HF_ENDPOINT names or from its cache (HF_HOME)."""
    named = f"model {model.uid!r} at {model.revision}"
    try:
        folder = snapshot_download(
            model.uid,
            revision=model.revision,
            allow_patterns=wanted,
            ignore_patterns=UNWANTED_FILES,
            # None: huggingface_hub takes the one that it finds.
            token=None if is_sendable(hub_token()) else False,
        )
    except GatedRepoError as error:
        sentence = (
            f"The Hub does not give the {named}: it is gated, and the trainer's HF_TOKEN does not open it."
        )
        raise RunFailed(FailureCode.GATED_MODEL, sentence) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise RunFailed(FailureCode.MODEL_NOT_FOUND, f"The Hub has no {named}.") from error
    except (HTTPError, OSError, ValueError) as error:
        # ValueError: what answers at the Hub's address speaks no JSON.
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise RunFailed(
            FailureCode.HUB_UNAVAILABLE, f"The Hub did not give the {named}: {_first_line(error)}"
        ) from error
    return Path(folder)


def _config(uid: str, folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "config.json").read_bytes())
    except ValueError as error:
        raise RunFailed(
            FailureCode.MODEL_NOT_FOUND, f"The config.json of model {uid!r} is no JSON: {error}"
        ) from error
    if not isinstance(found, dict):
        raise RunFailed(FailureCode.MODEL_NOT_FOUND, f"The config.json of model {uid!r} is no JSON object.")
    return found


def _is_known(config: dict[str, Any]) -> bool:
    """Whether transformers has code for the kind of model, so that what it brings is not needed."""
    # The import loads torch, for which nothing else here has to wait.
    from transformers import CONFIG_MAPPING

    return str(config.get("model_type")) in CONFIG_MAPPING


def _first_line(error: Exception) -> str:
    """huggingface_hub writes paragraphs; the first line has the reason."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
