"""Model folders below TUNEDECK_MODELS_DIR."""

import hashlib
import json
from pathlib import Path

from tunedeck_catalog.model_config import context_length
from tunedeck_contracts.errors import Conflict

_READ_BYTES = 1024 * 1024

Fingerprint = tuple[tuple[str, int, int], ...]


class ModelFolders:
    """Finds folders and pins their weights. Its methods read the disk: call them in a thread."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._hashes: dict[Fingerprint, str] = {}

    def has(self, model_id: str) -> bool:
        """Whether there is a model folder of this (checked) id."""
        return (self.root / model_id / "config.json").is_file()

    def revision(self, model_id: str) -> str:
        """`sha256:<hex>` of the folder's *.safetensors, joined in the order of their names.

        `cat *.safetensors | sha256sum` prints the same. A file is read again only when its
        size or its time has changed.

        Raises:
            Conflict: the folder has no weights in safetensors, or none that this service may read.
        """
        files = sorted((self.root / model_id).glob("*.safetensors"))
        if not files:
            raise Conflict(
                f"The folder of model {model_id!r} has no *.safetensors weights; "
                "other formats are not loaded. Convert it with save_pretrained()."
            )
        stats = [(file, file.stat()) for file in files]
        fingerprint = tuple((str(file), stat.st_size, stat.st_mtime_ns) for file, stat in stats)
        if fingerprint not in self._hashes:
            try:
                self._hashes[fingerprint] = _hash(files)
            except PermissionError as error:
                # safetensors writes its files for their owner alone.
                raise Conflict(
                    f"{Path(error.filename).name} of model {model_id!r} may not be read by the catalog: "
                    "`chmod -R a+rX` its folder, so that the users of the services can."
                ) from error
        return f"sha256:{self._hashes[fingerprint]}"

    def context_length(self, model_id: str) -> int | None:
        """Positions that the folder's config.json names."""
        try:
            config = json.loads((self.root / model_id / "config.json").read_bytes())
        except (OSError, ValueError):
            return None
        return context_length(config)


def _hash(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            while data := opened.read(_READ_BYTES):
                digest.update(data)
    return digest.hexdigest()
