"""What a backup has in it, and whether it still has it: `manifest.json`, which is written last."""

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from tunedeck_cli.errors import CommandFailed
from tunedeck_contracts.message import Message, Timestamp

MANIFEST = "manifest.json"


class CollectionFiles(Message):
    """One collection: `<database>/<collection>.bson` and `.metadata.json`, as mongodump names them."""

    database: str
    collection: str
    documents: int
    bytes: int
    sha256: str
    metadata_sha256: str

    def bson(self, folder: Path) -> Path:
        """The documents, one after the other."""
        return folder / self.database / f"{self.collection}.bson"

    def metadata(self, folder: Path) -> Path:
        """The options and indexes, as canonical extended JSON."""
        return folder / self.database / f"{self.collection}.metadata.json"


class Manifest(Message):
    """A whole backup. All documents are of one moment, but for blobs where `blobs_at_one_moment` is false."""

    format: Literal[1] = 1
    tunedeck: str
    mongodb: str
    created_at: Timestamp
    blobs_at_one_moment: bool
    collections: list[CollectionFiles]

    @property
    def databases(self) -> list[str]:
        """Their names, each once."""
        return list(dict.fromkeys(one.database for one in self.collections))

    @property
    def documents(self) -> int:
        """How many there are in all."""
        return sum(one.documents for one in self.collections)

    @property
    def bytes(self) -> int:
        """Of all documents."""
        return sum(one.bytes for one in self.collections)


def verified(folder: Path) -> Manifest:
    """The manifest of a backup whose files are all as it says.

    Raises:
        CommandFailed: there is none, or it names a file that is missing or has changed.
    """
    manifest = _read(folder / MANIFEST)
    for one in manifest.collections:
        for path, sha256 in ((one.bson(folder), one.sha256), (one.metadata(folder), one.metadata_sha256)):
            if not path.resolve().is_relative_to(folder.resolve()):
                raise CommandFailed(
                    f"The manifest of {folder} names {path}, which is outside: nothing was read."
                )
            if not path.is_file():
                raise CommandFailed(f"{path} is missing: this backup is not whole; take another one.")
            if digest(path) != sha256:
                raise CommandFailed(
                    f"{path} is not as it was written (its sha256 differs): take another backup."
                )
    return manifest


def digest(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> Manifest:
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise CommandFailed(
            f"{path} is missing: {path.parent} is no backup of `tunedeck backup`, or one that broke off."
        ) from error
    except (OSError, ValidationError) as error:
        raise CommandFailed(f"{path} cannot be read as a manifest: {error}") from error
