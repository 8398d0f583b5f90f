"""Secrets are made once, told to nobody, and read from files."""

import importlib
import stat
from pathlib import Path

import nkeys
import pytest
from pydantic import ValidationError
from pydantic_settings import SettingsError

from tunedeck_chassis import secrets
from tunedeck_chassis.mongo_users import MONGO_USERS, PASSWORD
from tunedeck_chassis.settings import ServiceSettings
from tunedeck_contracts import permissions
from tunedeck_contracts.channels import SERVICES


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_run_changes_nothing_and_a_missing_file_alone_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    assert len(secrets.create(folder)) == len(permissions.USERS) + len(MONGO_USERS) + 2
    before = contents(folder)
    assert secrets.create(folder) == []
    assert contents(folder) == before
    lost = folder / "jobs" / secrets.SEED
    lost.unlink()
    assert secrets.create(folder) == [lost, secrets.nats_keys(folder)]
    changed = {path for path, content in contents(folder).items() if before[path] != content}
    assert changed == {lost, secrets.nats_keys(folder)}


def test_only_the_owner_enters_and_nothing_is_the_same_twice(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    secrets.create(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in contents(folder)} == {0o444}
    assert len(set(contents(folder).values())) == len(contents(folder))


def test_the_public_keys_are_those_of_the_seeds(tmp_path: Path) -> None:
    secrets.create(tmp_path)
    keys = secrets.nats_keys(tmp_path).read_text()
    for user in permissions.USERS:
        seed = (tmp_path / user / secrets.SEED).read_bytes()
        public = nkeys.from_seed(bytearray(seed)).public_key.decode()
        assert f"{permissions.key_variable(user)}: {public}\n" in keys
        assert seed.decode() not in keys


def test_settings_take_secrets_from_the_folder_and_do_not_show_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets.create(tmp_path)
    monkeypatch.setenv("TUNEDECK_SECRETS_DIR", str(tmp_path / "jobs"))
    monkeypatch.setenv("TUNEDECK_MONGO_USER", "jobs")
    settings = ServiceSettings()
    assert settings.nats_nkey_seed is not None and settings.mongo_password is not None
    seed, password = (tmp_path / "jobs" / name for name in (secrets.SEED, PASSWORD))
    assert settings.nats_nkey_seed.get_secret_value() == seed.read_text()
    assert settings.mongo_password.get_secret_value() == password.read_text()
    assert seed.read_text() not in repr(settings) and password.read_text() not in repr(settings)


def test_what_is_missing_is_named_and_what_is_there_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEDECK_SECRETS_DIR", str(tmp_path / "none"))
    with pytest.raises(SettingsError, match=str(tmp_path / "none")):
        ServiceSettings()
    secrets.create(tmp_path)
    monkeypatch.setenv("TUNEDECK_SECRETS_DIR", str(tmp_path / "observer"))
    seed = (tmp_path / "observer" / secrets.SEED).read_text()
    with pytest.raises(ValidationError, match="'observer' has no password") as refused:
        ServiceSettings(mongo_user="observer")
    assert seed[:4] not in str(refused.value)


def test_each_services_database_is_the_one_that_its_settings_name() -> None:
    """A user may use `tunedeck_<service>`; another default of a setting would lock the service out."""
    for service in SERVICES:
        module = importlib.import_module(f"tunedeck_{service}.settings")
        fields = {
            name: field.default
            for one in vars(module).values()
            if isinstance(one, type) and issubclass(one, ServiceSettings)
            for name, field in one.model_fields.items()
            if name.endswith("_database")
        }
        assert set(fields.values()) <= {database for _, database in MONGO_USERS[service]}
