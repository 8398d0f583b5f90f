"""One stack has a home at a time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tunedeck_cli.errors import CommandFailed
from tunedeck_cli.home import Home


def test_second_stack_is_told_who_has_the_home(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with home.locked(), pytest.raises(CommandFailed, match=str(os.getpid())), home.locked():
        pass
    with home.locked():
        pass


def test_lock_of_a_process_that_died_is_free(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    program = (
        "import os, pathlib; from tunedeck_cli.home import Home\n"
        f"held = Home(pathlib.Path({str(home.root)!r})).locked(); held.__enter__(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", program], check=False, timeout=30)
    with home.locked():
        pass


def test_the_addresses_of_a_stack_that_was_killed_are_not_believed(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    addresses = {"TUNEDECK_NATS_URL": "nats://127.0.0.1:1"}
    with home.locked(), home.telling(addresses):
        assert home.running("operator") == addresses
    assert home.running("operator") == {}
    program = (
        "import os, pathlib; from tunedeck_cli.home import Home\n"
        f"home = Home(pathlib.Path({str(home.root)!r})); held = home.locked(); held.__enter__()\n"
        f"told = home.telling({addresses!r}); told.__enter__(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", program], check=False, timeout=30)
    assert (home.run / "addresses.json").exists()
    assert home.running("operator") == {}


def test_home_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEDECK_HOME", str(tmp_path / "here"))
    assert Home.from_environment().root == tmp_path / "here"
    monkeypatch.delenv("TUNEDECK_HOME")
    monkeypatch.chdir(tmp_path)
    assert Home.from_environment().root == tmp_path / ".tunedeck"


def test_path_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="TUNEDECK_HOME"):
        _ = Home(tmp_path / ("x" * 100)).socket
