"""Writes the packages' table in docs/licences.md, from constraints.txt and the installed metadata."""

import re
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tunedeck_contracts.channels import SERVICES

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
DOCUMENT = ROOT / "docs" / "licences.md"
HEADING = "## Python packages\n"
OWN = {
    f"tunedeck-{path.parent.name}": path
    for pattern in ("libs/*/pyproject.toml", "services/*/pyproject.toml", "cli/pyproject.toml")
    for path in ROOT.glob(pattern)
}
"""The pyproject.toml of each of our distributions."""

ABOUT = """As each package's metadata say, of what `constraints.txt` pins. What is part of *services* is in an
image of some service, *embedded stack* comes with `make up`, *tools and tests* are in nothing that is
deployed. MPL-2.0 (certifi, tqdm) asks whoever changes a file of those packages to publish that file; Tunedeck
changes none. `make schemas` writes this table.

It is the table of torch's build for CPUs. The build with CUDA, which PyPI has for Linux on x86-64, brings
packages of NVIDIA (under its own licences, and not open source) and `triton` (MIT) along.
"""

FOR_CUDA = {"bitsandbytes"}
"""In no image but the trainer's for CUDA (see its Dockerfile), and beside the environment for tests."""

_LONGEST_NAME = 60
"""Some packages put the whole text of a licence where its name belongs."""


def pinned() -> dict[str, str]:
    """Every package of constraints.txt with its version."""
    lines = CONSTRAINTS.read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))


def licence(name: str) -> str:
    """What the installed package says of itself; PackageNotFoundError where it is not installed."""
    said = metadata.metadata(name)
    classified = [
        one.rsplit(" :: ", 1)[-1]
        for one in said.get_all("Classifier") or []
        if one.startswith("License :: OSI Approved :: ")
    ]
    expression, free_text = ((said.get_all(key) or [""])[0] for key in ("License-Expression", "License"))
    named = expression or (free_text if len(free_text) <= _LONGEST_NAME else "") or " OR ".join(classified)
    if not named:
        raise ValueError(f"{name} does not say under which licence it is: look, and say it here.")
    return named


def table(known: dict[str, tuple[str, str]]) -> str:
    """One row a package, sorted by name; what is not installed here keeps what is `known` of it."""
    of_services = needed(*(f"tunedeck-{service}" for service in SERVICES)) | FOR_CUDA
    of_command = needed("tunedeck-cli") - of_services
    rows = ["| package | version | licence | part of |", "|---|---|---|---|"]
    for name, version in sorted(pinned().items()):
        key = canonicalize_name(name)
        part = (
            "services" if key in of_services else "embedded stack" if key in of_command else "tools and tests"
        )
        rows.append(f"| {name} | {version} | {_licence(name, known)} | {part} |")
    return "\n".join(rows) + "\n"


def rows(text: str) -> dict[str, tuple[str, str]]:
    """The table of a document: package to (version, licence)."""
    found = re.findall(r"^\| ([\w.-]+) \| ([\w.]+) \| ([^|]+) \|", text.partition(HEADING)[2], re.MULTILINE)
    return {name: (version, named) for name, version, named in found if name != "package"}


def _licence(name: str, known: dict[str, tuple[str, str]]) -> str:
    try:
        return licence(name)
    except metadata.PackageNotFoundError:
        if name not in known:
            raise ValueError(
                f"{name} is not installed: run `make setup` on a platform that has it."
            ) from None
        return known[name][1]


def asked_for(project: Path) -> list[str]:
    """What a pyproject.toml asks for, extras included. Installed metadata are those of the last set-up."""
    told = tomllib.loads(project.read_text())["project"]
    optional = told.get("optional-dependencies", {}).values()
    return [*told["dependencies"], *(one for listed in optional for one in listed)]


def needed(*requirements: str) -> set[str]:
    """What is asked for, what that asks for, and so on, as far as it is installed here."""
    needed: set[tuple[str, str]] = set()
    waiting = [(Requirement(one), "") for one in requirements]
    while waiting:
        wanted, extra = waiting.pop()
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(wanted.name)
        for into in wanted.extras or {""}:
            if (name, into) not in needed:
                needed.add((name, into))
                waiting += [(one, into) for one in _requires(name)]
    return {name for name, _ in needed}


@cache
def _requires(name: str) -> list[Requirement]:
    if name in OWN:
        return [Requirement(one) for one in asked_for(OWN[name])]
    try:
        return [Requirement(one) for one in metadata.requires(name) or []]
    except metadata.PackageNotFoundError:
        return []


if __name__ == "__main__":
    text = DOCUMENT.read_text()
    before = text.partition(HEADING)[0]
    DOCUMENT.write_text(f"{before}{HEADING}\n{ABOUT}\n{table(rows(text))}")
