"""What the training process writes of a tuned model: adapter, tokenizer, model card, manifest."""

import hashlib
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import Field

from tunedeck_contracts.jobs import Result
from tunedeck_contracts.message import Message, Timestamp, utc_now
from tunedeck_contracts.runs import Run

MANIFEST = "manifest.json"
CARD = "README.md"
_PACKAGES = ("torch", "transformers", "peft", "accelerate", "safetensors")
_LICENCE = re.compile(r"^license:\s*([\w.+-]+)\s*$", re.MULTILINE)


class ManifestFile(Message):
    """One file beside the manifest."""

    path: str
    size: int = Field(description="Bytes.")
    sha256: str


class Manifest(Message):
    """What the tuned model was made of, and the hash of each of its files."""

    job_uid: str
    base_model: str
    base_revision: str
    dataset_uid: str
    dataset_sha256: str
    created_at: Timestamp
    packages: dict[str, str]
    files: list[ManifestFile]


def save_adapter(
    folder: Path, model: Any, tokenizer: Any, run: Run, result: Result, base_folder: Path
) -> None:
    """Write the adapter with all that belongs to it; the manifest last, so that it vouches for the rest."""
    base = model.peft_config["default"]
    # The adapter names the model, not the folder it had on this machine.
    base.base_model_name_or_path = run.model.uid
    base.revision = run.model.revision if run.model.source == "hub" else None
    model.save_pretrained(folder, save_embedding_layers=False)
    tokenizer.save_pretrained(folder)
    (folder / CARD).write_text(model_card(run, result, licence_of(base_folder)), encoding="utf-8")
    manifest = Manifest(
        job_uid=run.job_uid,
        base_model=run.model.uid,
        base_revision=run.model.revision,
        dataset_uid=run.dataset.uid,
        dataset_sha256=run.dataset.rows_sha256,
        created_at=utc_now(),
        packages={name: version(name) for name in _PACKAGES},
        files=[_described(folder, file) for file in files_of(folder)],
    )
    (folder / MANIFEST).write_bytes(manifest.to_json())


def model_card(run: Run, result: Result, licence: str | None) -> str:
    """The README.md of the tuned model, with the Hub's metadata on top."""
    settings = run.hyperparameters.model_dump()
    table = "\n".join(f"| {name} | {value} |" for name, value in settings.items())
    header = [
        f"base_model: {run.model.uid}",
        "library_name: peft",
        "pipeline_tag: text-generation",
        "tags: [lora]",
    ]
    if licence is not None:
        header.append(f"license: {licence}")
    front = "\n".join(header)
    before, after = result.validation_loss_before, result.validation_loss_after
    return f"""---
{front}
---

# {run.model_saving.model_name or run.job_name}

A LoRA adapter for `{run.model.uid}` (`{run.model.revision}`),
trained by Tunedeck on the dataset "{run.dataset.name}". Licence of the base model: {licence or "unknown"}.

| | before | after |
|---|---|---|
| validation loss (nats per answer token) | {before:.4f} | {after:.4f} |

{result.train_rows} rows to train on, {result.validation_rows} to validate,
{result.truncated_rows} of them cut; {result.trained_tokens} answer tokens trained in {result.seconds:.0f} s.

## Settings

| setting | value |
|---|---|
{table}

## Use

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained("{run.model.uid}")
model = PeftModel.from_pretrained(base, "path/to/this/folder")
```
"""


def licence_of(base_folder: Path) -> str | None:
    """The licence that the base model's own card names, or None."""
    try:
        card = (base_folder / CARD).read_text(encoding="utf-8")
    except OSError:
        return None
    found = _LICENCE.search(card.split("\n---", 1)[0])
    return found.group(1) if found else None


def files_of(folder: Path) -> list[Path]:
    """Every file of a folder, sorted."""
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _described(folder: Path, file: Path) -> ManifestFile:
    with file.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    return ManifestFile(path=file.relative_to(folder).as_posix(), size=file.stat().st_size, sha256=sha256)
