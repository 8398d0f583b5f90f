"""What is set wrongly is one sentence, and no traceback; what is set for other servers troubles no stack."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tunedeck_chassis import secrets
from tunedeck_cli import installation
from tunedeck_cli.errors import CommandFailed
from tunedeck_cli.home import Home
from tunedeck_cli.main import app
from tunedeck_cli.stack import Stack

FOREIGN = {
    "TUNEDECK_TLS_CA_FILE": "/nowhere/ca.pem",
    "TUNEDECK_NATS_NKEY_SEED": "of another server",
    "TUNEDECK_MONGO_PASSWORD": "of another server",
    "TUNEDECK_MONGO_USER": "somebody",
    "TUNEDECK_SECRETS_DIR": "/nowhere",
}


def tunedeck(home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TUNEDECK_")}
    line = [sys.executable, "-m", "tunedeck_cli.main", *arguments]
    environment = {**inherited, "TUNEDECK_HOME": str(home), **more}
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("command", [("provision",), ("keys", "list")], ids=" ".join)
@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("TUNEDECK_MONGO_USER", "gateway", "has no password"),
        ("TUNEDECK_SECRETS_DIR", "/nowhere", "TUNEDECK_SECRETS_DIR names /nowhere"),
        ("TUNEDECK_MONGO_URL", "http://127.0.0.1", "TUNEDECK_MONGO_URL cannot be used"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(
    command: tuple[str, ...], variable: str, value: str, said: str, tmp_path: Path
) -> None:
    done = tunedeck(tmp_path, *command, **{variable: value})
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr and "Traceback" not in done.stderr


def test_a_folder_that_takes_no_secrets_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = tunedeck(tmp_path, "secrets", str(tmp_path / "file" / "secrets"))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"cannot be written into {tmp_path / 'file' / 'secrets'}" in done.stderr.replace("\n", "")


def test_keys_are_made_elsewhere_where_there_is_no_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tunedeck_gateway", None)
    with pytest.raises(CommandFailed, match=r"docker compose exec gateway .*\.keys create --name 'my key'`"):
        app(["keys", "create", "--name", "my key"], standalone_mode=False)


def test_a_stack_speaks_to_its_own_servers_as_its_own_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "home")
    home.create()
    secrets.create(home.secrets)
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TUNEDECK_HOME", str(home.root))
    addresses = {"TUNEDECK_NATS_URL": "nats://here:1", "TUNEDECK_MONGO_URL": "mongodb://here:2"}
    with home.locked(), home.telling(addresses):
        found = [
            Stack(home).settings("provision"),
            installation.provisioning(),
            installation.settings("TUNEDECK_NATS_URL", "operator"),
            installation.settings("TUNEDECK_MONGO_URL", "backup"),
        ]
        given = installation.environment("TUNEDECK_MONGO_URL", "gateway")
    users = ["provision", "provision", "operator", "backup"]
    for settings, user in zip(found, users, strict=True):
        seed = home.secrets / user / secrets.SEED
        assert settings.tls_ca_file is None and settings.secrets_dir == home.secrets / user
        if seed.exists():
            assert settings.nats_nkey_seed is not None
            assert settings.nats_nkey_seed.get_secret_value() == seed.read_text()
        assert settings.mongo_user == (None if user == "operator" else user)
        assert settings.mongo_password is None or settings.mongo_password.get_secret_value() != "of another"
    assert [one.nats_url for one in found[1:]] == ["nats://here:1"] * 3, "the running stack's"
    assert given["TUNEDECK_SECRETS_DIR"] == str(home.secrets / "gateway")
    assert not {"TUNEDECK_TLS_CA_FILE", "TUNEDECK_MONGO_PASSWORD"} & given.keys()
