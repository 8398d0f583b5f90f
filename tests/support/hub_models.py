"""The models of the local Hub: what it says of one is read from the model's files, as the Hub does."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Files = dict[str, bytes]


@dataclass
class HubModel:
    """A repository: what its page says, and its files by commit. `main` is the newest commit."""

    id: str
    about: dict[str, Any]
    gated: bool
    commits: dict[str, Files] = field(default_factory=dict)
    main: str = ""

    def commit(self, files: Files) -> str:
        """Put these files on main in place of what it had; earlier commits stay."""
        digest = hashlib.sha1(self.id.encode(), usedforsecurity=False)
        for name, content in sorted(files.items()):
            digest.update(name.encode() + b"\0" + content)
        self.main = digest.hexdigest()
        self.commits[self.main] = files
        return self.main

    def info(self, commit: str, *, sizes: bool) -> dict[str, Any]:
        """What `GET /api/models/{id}` says; sizes of files only where they are asked for."""
        files = self.commits[commit]
        siblings = [
            {"rfilename": name, **({"size": len(files[name])} if sizes else {})} for name in sorted(files)
        ]
        weights = [content for name, content in files.items() if name.endswith(".safetensors")]
        counts = _parameters(weights)
        described = {"safetensors": {"parameters": counts, "total": sum(counts.values())}} if counts else {}
        gated = {"gated": "manual" if self.gated else False}
        return {"id": self.id, "sha": commit, "siblings": siblings, **gated, **described, **self.about}


def _parameters(weights: list[bytes]) -> dict[str, int]:
    """Parameters by type, from the headers of safetensors files; none of a file that is broken."""
    counts: dict[str, int] = {}
    for content in weights:
        length = int.from_bytes(content[:8], "little")
        try:
            header = json.loads(content[8 : 8 + length])
        except ValueError:
            return {}
        for name, tensor in header.items():
            if name != "__metadata__":
                count = 1
                for size in tensor["shape"]:
                    count *= size
                counts[tensor["dtype"]] = counts.get(tensor["dtype"], 0) + count
    return counts


def files_of(folder: Path) -> Files:
    """A model folder's files as a commit."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
