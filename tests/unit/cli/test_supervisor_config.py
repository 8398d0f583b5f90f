"""supervisord reads what we write."""

import configparser
import shlex
from pathlib import Path

import pytest

from tunedeck_chassis import secrets
from tunedeck_cli.errors import CommandFailed
from tunedeck_cli.home import Home
from tunedeck_cli.supervisor_config import SERVICES, Program, configuration, service_programs


def parsed(root: Path) -> configparser.RawConfigParser:
    text = configuration(
        Home(root), [Program("nats", ["nats-server", "-c", "a b%"], 10)], service_programs(Home(root))
    )
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    return parser


def test_every_program_is_restarted(tmp_path: Path) -> None:
    parser = parsed(tmp_path)
    assert parser["group:services"]["programs"].split(",") == [*SERVICES]
    for name in ("nats", *SERVICES):
        assert parser[f"program:{name}"]["autorestart"] == "true"
        assert parser[f"program:{name}"]["stopasgroup"] == "true"


def test_commands_survive_spaces_and_percent_signs(tmp_path: Path) -> None:
    command = parsed(tmp_path)["program:nats"]["command"]
    assert shlex.split(command.replace("%%", "%"))[-3:] == ["nats-server", "-c", "a b%"]


@pytest.mark.parametrize("name", ["a ;b", "a #b"])
def test_a_home_that_supervisord_would_cut_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CommandFailed, match="TUNEDECK_HOME"):
        parsed(tmp_path / name)
    parsed(tmp_path / "a;b#c")


def test_every_service_has_the_login_of_its_own_alone(tmp_path: Path) -> None:
    secrets.create(Home(tmp_path).secrets)
    parser = parsed(tmp_path)
    for name in SERVICES:
        folder = Home(tmp_path).secrets / name
        told = f'TUNEDECK_SECRETS_DIR="{folder}",TUNEDECK_MONGO_USER="{name}"'
        assert parser[f"program:{name}"]["environment"] == told


def test_services_are_modules(tmp_path: Path) -> None:
    parser = parsed(tmp_path)
    for name in SERVICES:
        assert parser[f"program:{name}"]["command"].endswith(f"-m tunedeck_{name}")
