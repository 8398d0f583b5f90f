"""Writes the golden JSON Schema of every message into tests/contracts/schemas."""

import importlib
import json
import pkgutil
from pathlib import Path

import tunedeck_contracts
from tunedeck_contracts.message import CamelMessage, Message

SCHEMAS = Path(__file__).resolve().parent.parent / "tests" / "contracts" / "schemas"


def messages() -> dict[str, type[Message]]:
    """Every message type by its name, from every module of the contracts."""
    for module in pkgutil.iter_modules(tunedeck_contracts.__path__):
        importlib.import_module(f"tunedeck_contracts.{module.name}")
    found: dict[str, type[Message]] = {}
    for one in _below(Message):
        if one is CamelMessage or not one.__module__.startswith("tunedeck_contracts."):
            continue
        if found.setdefault(one.__name__, one) is not one:
            raise ValueError(f"Two messages are called {one.__name__}.")
    return dict(sorted(found.items()))


def _below(parent: type[Message]) -> list[type[Message]]:
    return [one for child in parent.__subclasses__() for one in (child, *_below(child))]


def golden(message: type[Message]) -> str:
    """What is taken and what is sent, as the text of the golden file."""
    schemas = {
        "taken": message.model_json_schema(mode="validation"),
        "sent": message.model_json_schema(mode="serialization"),
    }
    return json.dumps(schemas, indent=2, sort_keys=True) + "\n"


def write(folder: Path) -> None:
    """One file a message; a file of a message that is gone is removed."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = messages()
    for path in folder.glob("*.json"):
        if path.stem not in wanted:
            path.unlink()
    for name, message in wanted.items():
        (folder / f"{name}.json").write_text(golden(message))


if __name__ == "__main__":
    write(SCHEMAS)
