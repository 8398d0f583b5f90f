"""The compose files, read as compose reads them."""

import re
from pathlib import Path
from typing import Any

import yaml

from tests.images.dockerfiles import ROOT

COMPOSE = ROOT / "docker-compose.yml"
OVERRIDES = tuple(sorted(ROOT.glob("compose.*.yml")))
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\})")

Service = dict[str, Any]


def read(path: Path = COMPOSE, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """A compose file with its variables replaced, which are looked for in its strings."""
    whole: dict[str, Any] = _replaced(yaml.safe_load(path.read_text()), environment or {})
    return whole


def _replaced(said: Any, given: dict[str, str]) -> Any:
    if isinstance(said, dict):
        return {key: _replaced(value, given) for key, value in said.items()}
    if isinstance(said, list):
        return [_replaced(value, given) for value in said]
    if not isinstance(said, str):
        return said
    return _VARIABLE.sub(
        lambda found: given.get(found["name"]) or found["default"] or "" if found["name"] else "$", said
    )


def services() -> dict[str, Service]:
    """The services of docker-compose.yml."""
    found: dict[str, Service] = read()["services"]
    return found


def environment_of(service: Service, passed: dict[str, str] | None = None) -> dict[str, str]:
    """What it gets; a variable without a value is handed on where the caller's environment has it."""
    whole = {
        name: (passed or {}).get(name) if value is None else value
        for name, value in service.get("environment", {}).items()
    }
    return {name: str(value) for name, value in whole.items() if value is not None}


def secrets_of(service: Service) -> dict[str, Path]:
    """The file of each secret, below the root of the repository, by its name in /run/secrets."""
    files = {name: Path(one["file"]) for name, one in read()["secrets"].items()}
    return {
        one if isinstance(one, str) else one["target"]: files[one if isinstance(one, str) else one["source"]]
        for one in service.get("secrets", [])
    }


def volumes_of(service: Service) -> dict[str, tuple[str | None, bool]]:
    """By the folder in the container: the volume or the host's path, None without a name; whether it is
    read-only."""
    found: dict[str, tuple[str | None, bool]] = {}
    for one in service.get("volumes", []):
        parts = one.split(":")
        if len(parts) == 1:
            found[parts[0]] = (None, False)
        else:
            found[parts[1]] = (parts[0], parts[2:] == ["ro"])
    return found
