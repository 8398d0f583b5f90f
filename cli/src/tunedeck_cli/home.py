"""The folder of one embedded stack."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunedeck_chassis.mongo_users import MONGO_USERS, PASSWORD
from tunedeck_chassis.secrets import SEED
from tunedeck_cli.errors import CommandFailed

_FOLDERS = ("data/nats", "data/mongo", "logs", "models", "adapters", "work", "run")
_LONGEST_SOCKET_PATH = 100
_OF_OTHER_SERVERS = {"TUNEDECK_TLS_CA_FILE", "TUNEDECK_NATS_NKEY_SEED", "TUNEDECK_MONGO_PASSWORD"}


def own_environment() -> dict[str, str]:
    """This process's, without what is set for other servers and would keep a stack's processes out."""
    return {name: value for name, value in os.environ.items() if name not in _OF_OTHER_SERVERS}


@dataclass(frozen=True)
class Home:
    """Where a stack keeps its data, logs, models and adapters."""

    root: Path

    @classmethod
    def from_environment(cls) -> "Home":
        """`TUNEDECK_HOME`, or `.tunedeck` in the current folder."""
        return cls(Path(os.environ.get("TUNEDECK_HOME") or ".tunedeck").resolve())

    @property
    def nats_data(self) -> Path:
        return self.root / "data" / "nats"

    @property
    def mongo_data(self) -> Path:
        return self.root / "data" / "mongo"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def adapters(self) -> Path:
        return self.root / "adapters"

    @property
    def downloads(self) -> Path:
        return self.root / "adapters-download"

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def secrets(self) -> Path:
        """Keys and passwords of this stack's users, as `tunedeck secrets` makes them."""
        return self.root / "secrets"

    @property
    def socket(self) -> Path:
        """supervisord's own socket. Raises CommandFailed where the path is too long for one."""
        path = self.run / "supervisor.sock"
        if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
            raise CommandFailed(f"{path} is too long for a socket: set TUNEDECK_HOME to a shorter path.")
        return path

    def login(self, user: str) -> dict[str, str]:
        """As variables: who a process of this stack is at NATS and MongoDB."""
        folder = self.secrets / user
        as_mongo_user = {"TUNEDECK_MONGO_USER": user} if user in MONGO_USERS else {}
        return {"TUNEDECK_SECRETS_DIR": str(folder), **as_mongo_user} if folder.is_dir() else {}

    def credentials(self, user: str) -> dict[str, Any]:
        """As fields of the settings: all that says who one of this stack's users is.

        What the environment says of other servers would win over the files, and is left out.
        """
        folder = self.secrets / user
        return {
            "secrets_dir": folder,
            "nats_nkey_seed": _content(folder / SEED),
            "mongo_user": user if user in MONGO_USERS else None,
            "mongo_password": _content(folder / PASSWORD) if user in MONGO_USERS else None,
            "tls_ca_file": None,
        }

    def running(self, user: str) -> dict[str, str]:
        """As variables: where the stack that runs here has NATS and MongoDB, with the user's login.

        Empty while none runs; a killed one has left its addresses behind, but not its lock.
        """
        try:
            addresses: dict[str, str] = json.loads(self._addresses.read_text())
        except FileNotFoundError:
            return {}
        return {**addresses, **self.login(user)} if self._is_locked() else {}

    @contextlib.contextmanager
    def telling(self, addresses: Mapping[str, str]) -> Iterator[None]:
        """Say where NATS and MongoDB are, as variables, for as long as the stack runs."""
        self._addresses.write_text(json.dumps(addresses))
        try:
            yield
        finally:
            self._addresses.unlink(missing_ok=True)

    @property
    def _addresses(self) -> Path:
        return self.run / "addresses.json"

    def create(self) -> None:
        """Make the folders that are missing; only this user may read them."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in _FOLDERS:
            (self.root / folder).mkdir(parents=True, exist_ok=True)

    def _is_locked(self) -> bool:
        with (self.run / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the home for one stack. Raises CommandFailed, naming the process that has it."""
        self.create()
        with (self.run / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().strip() or "unknown"
                raise CommandFailed(
                    f"A stack already runs in {self.root} (process {holder}): stop it, or set TUNEDECK_HOME."
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield


def _content(path: Path) -> str | None:
    return path.read_text().strip() if path.is_file() else None
