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


def read(*paths: Path) -> Service:
    """Compose files, docker-compose.yml alone by default, with the defaults of their variables, and merged.

    Of what two say, lists are joined, mappings merged, and of anything else the later one holds.
    """
    whole: Service = {}
    for path in paths or (COMPOSE,):
        whole = _merged(whole, _replaced(yaml.safe_load(path.read_text())))
    return whole


def _merged(one: Any, other: Any, key: str = "") -> Any:
    if isinstance(one, dict) and isinstance(other, dict):
        both = {name: _merged(one[name], other[name], name) for name in one.keys() & other.keys()}
        return {**one, **other, **both}
    if isinstance(one, list) and isinstance(other, list) and key not in ("command", "entrypoint", "test"):
        return one + other
    return other


def _replaced(said: Any) -> Any:
    if isinstance(said, dict):
        return {key: _replaced(value) for key, value in said.items()}
    if isinstance(said, list):
        return [_replaced(value) for value in said]
    if not isinstance(said, str):
        return said
    return _VARIABLE.sub(lambda found: found["default"] or "" if found["name"] else "$", said)


def services(*paths: Path) -> dict[str, Service]:
    """The services of docker-compose.yml, or of the given files together, each with its secrets' files."""
    whole = read(*paths)
    found: dict[str, Service] = whole["services"]
    for service in found.values():
        service["x-files"] = {name: one["file"] for name, one in whole["secrets"].items()}
    return found


def environment_of(service: Service, passed: dict[str, str] | None = None) -> dict[str, str]:
    """What it gets; a variable without a value is handed on where the caller's environment has it."""
    whole = {
        name: (passed or {}).get(name) if value is None else value
        for name, value in service.get("environment", {}).items()
    }
    return {name: str(value) for name, value in whole.items() if value is not None}


def secrets_of(service: Service) -> dict[str, Path]:
    """The file of each secret, below the root of the repository, by its place in the container."""
    found: dict[str, Path] = {}
    for one in service.get("secrets", []):
        source, target = (one, one) if isinstance(one, str) else (one["source"], one["target"])
        found[str(Path("/run/secrets") / target)] = Path(service["x-files"][source])
    return found


def volumes_of(service: Service) -> dict[str, tuple[str | None, bool]]:
    """By the folder in the container: the volume or the host's path, None without a name; and whether it is
    read-only."""
    found: dict[str, tuple[str | None, bool]] = {}
    for one in service.get("volumes", []):
        parts = one.split(":")
        if len(parts) == 1:
            found[parts[0]] = (None, False)
        else:
            found[parts[1]] = (parts[0], parts[2:] == ["ro"])
    return found
