"""The files of a folder, and each as a manifest names it."""

import hashlib
from pathlib import Path

from tunedeck_contracts.artifacts import ManifestFile


def files_of(folder: Path) -> list[Path]:
    """Every file of a folder, sorted."""
    return sorted(file for file in folder.rglob("*") if file.is_file())


def described(folder: Path, file: Path) -> ManifestFile:
    """A file as a manifest names it."""
    with file.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    return ManifestFile(path=file.relative_to(folder).as_posix(), size=file.stat().st_size, sha256=sha256)
