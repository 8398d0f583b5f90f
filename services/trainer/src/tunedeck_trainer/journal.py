"""What this trainer keeps over a restart: its id, the runs it held, the number of its last idle sample."""

import fcntl
import os
import secrets
import socket
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Held(BaseModel):
    """A run that this trainer works on."""

    model_config = ConfigDict(frozen=True)

    job_uid: str
    fence: int


class _Kept(BaseModel):
    trainer_id: str
    held: list[Held] = []
    idle_samples: int = 0


class Journal:
    """A small file in the work folder, replaced whole at each change. One process at a time has it."""

    def __init__(self, work_dir: Path) -> None:
        work_dir.mkdir(parents=True, exist_ok=True)
        self._file = work_dir / "journal.json"
        self._lock = (work_dir / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise RuntimeError(
                f"Another trainer works in {work_dir}. Give this one its own TUNEDECK_WORK_DIR."
            ) from error
        self._kept = self._read()

    @property
    def trainer_id(self) -> str:
        """The same after each restart in this folder."""
        return self._kept.trainer_id

    @property
    def held(self) -> list[Held]:
        """Runs that were begun and not reported."""
        return list(self._kept.held)

    def hold(self, run: Held) -> None:
        """A run begins."""
        self._write(held=[*self._kept.held, run])

    def let_go(self, run: Held) -> None:
        """A run is reported, or someone else's now."""
        self._write(held=[one for one in self._kept.held if one != run])

    def next_idle_sample(self) -> int:
        """The number of the next sample of an idle host, from 1, never used before."""
        self._write(idle_samples=self._kept.idle_samples + 1)
        return self._kept.idle_samples

    def close(self) -> None:
        """Let another process have the folder."""
        self._lock.close()

    def _read(self) -> _Kept:
        if self._file.exists():
            return _Kept.model_validate_json(self._file.read_bytes())
        host = "".join(letter if letter.isalnum() else "-" for letter in socket.gethostname())[:40]
        return _Kept(trainer_id=f"trainer_{host}_{secrets.token_hex(4)}")

    def _write(self, **changed: object) -> None:
        self._kept = self._kept.model_copy(update=changed)
        temporary = self._file.with_suffix(".new")
        with temporary.open("w") as opened:
            opened.write(self._kept.model_dump_json())
            opened.flush()
            os.fsync(opened.fileno())
        temporary.replace(self._file)
