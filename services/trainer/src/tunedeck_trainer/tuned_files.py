"""What the training process writes of a tuned model: adapter or weights, tokenizer, model card, manifest."""

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import Field

from tunedeck_contracts.jobs import Result
from tunedeck_contracts.message import Message, Timestamp, utc_now
from tunedeck_contracts.runs import Run
from tunedeck_trainer.model_card import CARD, licence_of, model_card

MANIFEST = "manifest.json"
_PACKAGES = ("torch", "transformers", "accelerate", "safetensors")
_PACKAGES_OF = {"lora": ("peft",), "qlora": ("peft", "bitsandbytes"), "full": ()}


class ManifestFile(Message):
    """One file beside the manifest."""

    path: str
    size: int = Field(description="Bytes.")
    sha256: str


class Manifest(Message):
    """What the tuned model was made of, and the hash of each of its files."""

    job_uid: str
    method: str = Field(description="'full': the folder is a model of its own; else an adapter for the base.")
    base_model: str
    base_revision: str
    dataset_uid: str
    dataset_sha256: str
    created_at: Timestamp
    packages: dict[str, str]
    files: list[ManifestFile]


def save_tuned(folder: Path, model: Any, tokenizer: Any, run: Run, result: Result, base_folder: Path) -> None:
    """Write the adapter, or the whole model, with all that belongs to it; the manifest last, so that it
    vouches for the rest."""
    method = run.hyperparameters.method
    if method == "full":
        model.save_pretrained(folder)
    else:
        _save_adapter(folder, model, run)
    tokenizer.save_pretrained(folder)
    (folder / CARD).write_text(model_card(run, result, licence_of(base_folder)), encoding="utf-8")
    manifest = Manifest(
        job_uid=run.job_uid,
        method=method,
        base_model=run.model.uid,
        base_revision=run.model.revision,
        dataset_uid=run.dataset.uid,
        dataset_sha256=run.dataset.rows_sha256,
        created_at=utc_now(),
        packages={name: version(name) for name in (*_PACKAGES, *_PACKAGES_OF[method])},
        files=[described(folder, file) for file in files_of(folder)],
    )
    (folder / MANIFEST).write_bytes(manifest.to_json())


def _save_adapter(folder: Path, model: Any, run: Run) -> None:
    base = model.peft_config["default"]
    # The adapter names the model, not the folder it had on this machine.
    base.base_model_name_or_path = run.model.uid
    base.revision = run.model.revision if run.model.source == "hub" else None
    model.save_pretrained(folder, save_embedding_layers=False)


def files_of(folder: Path) -> list[Path]:
    """Every file of a folder, sorted."""
    return sorted(file for file in folder.rglob("*") if file.is_file())


def described(folder: Path, file: Path) -> ManifestFile:
    """A file as a manifest names it."""
    with file.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    return ManifestFile(path=file.relative_to(folder).as_posix(), size=file.stat().st_size, sha256=sha256)
