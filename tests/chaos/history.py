"""What the API acknowledged, on a file that is synced before the next request is sent."""

import json
import os
import threading
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


class Kind(StrEnum):
    """What was written."""

    JOB = "job"
    CANCEL = "cancel"
    DATASET = "dataset"
    PRESET = "preset"


@dataclass(frozen=True)
class Acknowledged:
    """One write that was answered with success: what it is called, and what must be found of it."""

    kind: Kind
    uid: str
    holds: dict[str, Any]


class History:
    """Appended to by several threads."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._opened = file.open("a")
        self._lock = threading.Lock()

    def acknowledged(self, kind: Kind, uid: str, /, **holds: Any) -> None:
        """Keep it: from now on it may not be lost."""
        with self._lock:
            self._opened.write(json.dumps(asdict(Acknowledged(kind, uid, holds))) + "\n")
            self._opened.flush()
            os.fsync(self._opened.fileno())

    def read(self) -> list[Acknowledged]:
        """Everything that was acknowledged, in order."""
        entries = [json.loads(line) for line in self._file.read_text().splitlines()]
        return [Acknowledged(Kind(one["kind"]), one["uid"], one["holds"]) for one in entries]

    def close(self) -> None:
        """Close the file."""
        self._opened.close()
