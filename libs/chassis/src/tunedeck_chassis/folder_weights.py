"""The weights in a folder below TUNEDECK_MODELS_DIR, pinned by their hash."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from tunedeck_contracts.errors import Conflict

_READ_BYTES = 1024 * 1024

Fingerprint = tuple[tuple[str, int, int], ...]


class FolderWeights:
    """Reads the disk: call it in a thread. A folder is read again when a file's size or time has changed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._hashes: dict[Fingerprint, str] = {}

    def revision(self, model_id: str) -> str:
        """`sha256:<hex>` of the folder's *.safetensors, joined in the order of their names.

        `cat *.safetensors | sha256sum` prints the same.

        Raises:
            Conflict: the folder has no weights in safetensors, or none that this service may read.
        """
        files = sorted((self.root / model_id).glob("*.safetensors"))
        if not files:
            raise Conflict(
                f"The folder of model {model_id!r} has no *.safetensors weights; "
                "other formats are not loaded. Convert it with save_pretrained()."
            )
        try:
            return f"sha256:{self._hash_of(files)}"
        except PermissionError as error:
            # safetensors writes its files for their owner alone.
            raise Conflict(
                f"{Path(error.filename).name} of model {model_id!r} may not be read by this service: "
                "`chmod -R a+rX` its folder, so that the users of the services can."
            ) from error
        except OSError as error:
            # A link that leads nowhere, a file that was just exchanged, a disk that fails.
            raise Conflict(f"The weights of model {model_id!r} cannot be read: {error}") from error

    def _hash_of(self, files: Sequence[Path]) -> str:
        stats = [(file, file.stat()) for file in files]
        fingerprint = tuple((str(file), stat.st_size, stat.st_mtime_ns) for file, stat in stats)
        if fingerprint not in self._hashes:
            self._hashes[fingerprint] = _hash(files)
        return self._hashes[fingerprint]


def _hash(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            while data := opened.read(_READ_BYTES):
                digest.update(data)
    return digest.hexdigest()
