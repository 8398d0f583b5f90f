"""The files of a tuned model against their manifest."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from tunedeck_cli.errors import CommandFailed
from tunedeck_contracts.artifacts import MANIFEST, Manifest


@dataclass(frozen=True)
class FileCheck:
    """What was found of the files that a manifest names; paths as it writes them.

    `unlisted` are files that it does not name: it says nothing of them, and they break nothing.
    """

    checked: int
    missing: list[str]
    changed: list[str]
    unlisted: list[str]

    @property
    def passed(self) -> bool:
        """Whether every file is there as it was written; of no file, nothing can be said."""
        return self.checked > 0 and not self.missing and not self.changed


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a tuned model's folder. Raises CommandFailed where there is none that can be read."""
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise CommandFailed(
            f"{path} is missing: {folder} is no artifact of a job, or not all of it was downloaded."
        ) from error
    except (OSError, ValidationError) as error:
        raise CommandFailed(f"{path} cannot be read as the manifest of a tuned model: {error}") from error


def check(folder: Path, manifest: Manifest) -> FileCheck:
    """Compare size and sha256 of each file. Raises CommandFailed where one would be outside the folder."""
    missing, changed = [], []
    for file in manifest.files:
        path = folder / file.path
        if not path.resolve().is_relative_to(folder.resolve()):
            raise CommandFailed(
                f"The manifest of {folder} names {file.path}, which is outside: nothing was read."
            )
        if not path.is_file():
            missing.append(file.path)
        elif path.stat().st_size != file.size or sha256_of(path) != file.sha256:
            changed.append(file.path)
    named = {MANIFEST, *(file.path for file in manifest.files)}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return FileCheck(len(manifest.files), missing, changed, sorted(there - named))


def sha256_of(path: Path) -> str:
    """Of a file's bytes, in hex."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
