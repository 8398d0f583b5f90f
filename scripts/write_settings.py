"""Writes `.env.example` and docs/settings.md from the settings classes of all services."""

import importlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import NoDecode

from tunedeck_chassis.provisioning import ProvisionSettings
from tunedeck_chassis.settings import ServiceSettings
from tunedeck_contracts.channels import SERVICES

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "settings.md"
EXAMPLE = ROOT / ".env.example"

_BOUNDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


@dataclass(frozen=True)
class Setting:
    """One setting. `default` as the environment would say it; empty where there is none."""

    variable: str
    default: str
    description: str
    is_secret: bool = False


OTHERS = (
    Setting(
        "TUNEDECK_HOME", ".tunedeck", "Folder of the embedded stack: its data, logs, models and adapters."
    ),
    Setting(
        "TUNEDECK_API_URL",
        "",
        "The `tunedeck` command's: the main API; the stack that runs here when absent.",
    ),
    Setting(
        "TUNEDECK_API_KEY", "", "The `tunedeck` command's: the key that it sends, where one is asked for."
    ),
    Setting("HF_TOKEN", "", "huggingface_hub's own: opens gated models; the trainer's pushes to the Hub."),
    Setting("HF_ENDPOINT", "https://huggingface.co", "huggingface_hub's own: where the Hub is."),
    Setting("HF_HOME", "~/.cache/huggingface", "huggingface_hub's own: where it keeps what it downloads."),
    Setting(
        "COMPOSE_FILE",
        "docker-compose.yml",
        "docker compose's own: the files that each of its commands reads, with compose.tls.yml for TLS and "
        "compose.gpu.yml for a GPU behind colons.",
    ),
    Setting("TUNEDECK_PUBLISH", "127.0.0.1", "docker-compose.yml's: the host's address of its two ports."),
    Setting(
        "TUNEDECK_EDGE_SUBNET",
        "172.29.77.0/24",
        "docker-compose.yml's: the addresses of the proxy and the gateways, where no other network has them.",
    ),
    Setting("TUNEDECK_GPU", "0", "compose.gpu.yml's: the trainer's GPU, as the host numbers them."),
    Setting("TUNEDECK_TRAINER_CPUS", "2", "docker-compose.yml's: most CPUs of a trainer."),
    Setting("TUNEDECK_TRAINER_MEMORY", "8g", "docker-compose.yml's: most memory of a trainer."),
    Setting(
        "TUNEDECK_TRAINER_VARIANT", "cuda", "docker-compose.yml's: which torch is built in, cuda or cpu."
    ),
    Setting(
        "TORCH_INDEX_URL", "", "docker-compose.yml's: for the variant cpu, an index of torch's CPU builds."
    ),
    Setting(
        "TUNEDECK_REVISION", "unknown", "docker-compose.yml's: what images name as their source's commit."
    ),
)
"""What is read from the environment by other parts than a settings class."""

_INTRODUCTION = """# Settings

Written from the settings classes by `make schemas`. Each setting is a variable of the environment, for the
embedded stack and for containers alike; `.env.example` has them all. A value that cannot be taken ends the
process at its start, with the setting's name. Lists are separated by commas, but where the default is written
as JSON.

A setting marked *secret* is the name of a file below `TUNEDECK_SECRETS_DIR`, so that it is on no command
line.

The embedded stack (`make up`, `make demo`) chooses its addresses, its ports (8000 and 8001 while they are
free) and the folders below its home by itself; what it chooses wins over these variables.

The name of a database can be chosen only where MongoDB has no users: those that provisioning makes may use
the databases of the default names alone, and `docker-compose.yml` does not hand these settings on.
"""
_EXAMPLE_HEAD = """# Every setting with its default; docs/settings.md says the same as a table.
# docker compose reads the file `.env` beside its own. For `make up`: set -a; . ./.env; set +a
# Secrets are files below TUNEDECK_SECRETS_DIR, and not here. Written by `make schemas`.
"""


def classes() -> dict[str, type[ServiceSettings]]:
    """The settings classes by the heading that they get."""
    found: dict[str, type[ServiceSettings]] = {"Every service": ServiceSettings}
    for service in SERVICES:
        module = importlib.import_module(f"tunedeck_{service}.settings")
        found[service] = next(
            one
            for one in vars(module).values()
            if isinstance(one, type)
            and issubclass(one, ServiceSettings)
            and one.__module__ == module.__name__
        )
    return {**found, "provisioning": ProvisionSettings}


def settings() -> dict[str, list[Setting]]:
    """Every setting by its heading; what all services have is under the first heading alone."""
    found = {heading: list(_own(one)) for heading, one in classes().items()}
    return {**found, "The stack and other libraries": list(OTHERS)}


def document() -> str:
    """The text of docs/settings.md."""
    parts = [_INTRODUCTION]
    for heading, listed in settings().items():
        rows = [f"| {_named(one)} | {_code(one.default)} | {_escaped(one.description)} |" for one in listed]
        parts.append(
            "\n".join([f"## {heading}", "", "| setting | default | what it is |", "|---|---|---|", *rows, ""])
        )
    return "\n".join(parts)


def example() -> str:
    """The text of `.env.example`. A setting that two services share stands at the first."""
    parts = [_EXAMPLE_HEAD]
    seen: set[str] = set()
    for heading, listed in settings().items():
        lines = [f"## {heading}"]
        for one in listed:
            if not one.is_secret and one.variable not in seen:
                lines += [f"# {one.description}", f"#{one.variable}={one.default}"]
            seen.add(one.variable)
        parts.append("\n".join([*lines, ""]))
    return "\n".join(parts)


def _own(settings_class: type[ServiceSettings]) -> Iterator[Setting]:
    inherited = set(ServiceSettings.model_fields) if settings_class is not ServiceSettings else set()
    prefix = settings_class.model_config["env_prefix"]
    for name, field in settings_class.model_fields.items():
        if name not in inherited:
            is_secret = "SecretStr" in str(field.annotation)
            variable = str(field.validation_alias or f"{prefix}{name}")
            yield Setting(
                variable.lower() if is_secret else variable.upper(),
                _default(field),
                _described(field),
                is_secret,
            )


def _described(field: FieldInfo) -> str:
    text = field.description or ""
    bounds = [
        f"{word} {getattr(one, bound):g}"
        for one in field.metadata
        for bound, word in _BOUNDS.items()
        if hasattr(one, bound)
    ]
    return f"{text} {', '.join(bounds).capitalize()}." if bounds else text


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if value is None or isinstance(value, SecretStr):
        return ""
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ",".join(value) if NoDecode in field.metadata else json.dumps(value)
    return str(value)


def _named(one: Setting) -> str:
    return f"`{one.variable}` (*secret*)" if one.is_secret else f"`{one.variable}`"


def _escaped(text: str) -> str:
    """Markdown would take <id> for a tag and * for emphasis."""
    return re.sub(r"([<*|])", r"\\\1", text)


def _code(text: str) -> str:
    return f"`{text}`" if text else "none"


if __name__ == "__main__":
    DOCUMENT.write_text(document())
    EXAMPLE.write_text(example())
