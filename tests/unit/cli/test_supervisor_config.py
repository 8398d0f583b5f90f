"""supervisord reads what we write."""

import configparser
import shlex
from pathlib import Path

from tunedeck_cli.home import Home
from tunedeck_cli.supervisor_config import PROVISION, SERVICES, Program, configuration, service_programs


def parsed(root: Path) -> configparser.RawConfigParser:
    text = configuration(Home(root), [Program("nats", ["nats-server", "-c", "a b%"], 10)], service_programs())
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    return parser


def test_every_program_is_restarted_but_provisioning_only_when_it_fails(tmp_path: Path) -> None:
    parser = parsed(tmp_path)
    assert parser["group:services"]["programs"].split(",") == [PROVISION, *SERVICES]
    for name in ("nats", *SERVICES):
        assert parser[f"program:{name}"]["autorestart"] == "true"
        assert parser[f"program:{name}"]["stopasgroup"] == "true"
    assert parser[f"program:{PROVISION}"]["autorestart"] == "unexpected"
    assert parser[f"program:{PROVISION}"]["exitcodes"] == "0"


def test_commands_survive_spaces_and_percent_signs(tmp_path: Path) -> None:
    command = parsed(tmp_path)["program:nats"]["command"]
    assert shlex.split(command.replace("%%", "%"))[-3:] == ["nats-server", "-c", "a b%"]


def test_services_are_modules(tmp_path: Path) -> None:
    parser = parsed(tmp_path)
    for name in SERVICES:
        assert parser[f"program:{name}"]["command"].endswith(f"-m tunedeck_{name}")
