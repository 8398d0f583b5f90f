"""Writes examples/python-docs.csv and examples/held-out-questions.csv from the standard library's docstrings.

Run with Python 3.11: `.venv/bin/python scripts/make_python_docs.py`. The order is that of the names.
"""

import contextlib
import csv
import importlib
import inspect
import io
import pkgutil
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
HELD_OUT = (
    "What does textwrap.dedent do?",
    "What does shutil.copytree do?",
    "What does statistics.median do?",
)
SHORTEST, LONGEST = 40, 400
PACKAGES = ("asyncio", "collections", "concurrent", "email", "html", "http", "importlib", "json", "logging")
SKIPPED = {
    "antigravity",
    "this",
    "idlelib",
    "lib2to3",
    "tkinter",
    "turtle",
    "turtledemo",
    "test",
    "ensurepip",
    "pydoc_data",
}
SIGNATURE = re.compile(r"^[\w.]+\(.*\)\s*(->.*)?$")


def module_names() -> list[str]:
    """Public modules of the standard library, and the submodules of a few packages."""
    top = [name for name in sys.stdlib_module_names if not name.startswith("_") and name not in SKIPPED]
    below = [
        info.name
        for package in PACKAGES
        for info in pkgutil.walk_packages(importlib.import_module(package).__path__, package + ".")
        if "._" not in info.name and not info.name.endswith("__main__")
    ]
    return sorted({*top, *below})


def imported(name: str) -> ModuleType | None:
    """The module, or None where this platform does not have it."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ImportError:
            return None


def public_names(module: ModuleType) -> list[str]:
    """What the module says is public, else what has no underscore."""
    return sorted(
        getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    )


def first_paragraph(thing: object) -> str | None:
    """The docstring's first paragraph on one line, or None when it is none or too short or long."""
    doc = inspect.getdoc(thing)
    if not doc:
        return None
    lines = doc.strip().splitlines()
    while lines and (SIGNATURE.match(lines[0].strip()) or not lines[0].strip()):
        lines.pop(0)
    text = " ".join("\n".join(lines).split("\n\n")[0].split())
    if (
        not SHORTEST <= len(text) <= LONGEST
        or text.endswith(":")
        or not text.isascii()
        or not text[:1].isalpha()
    ):
        return None
    return text


def documented(module: ModuleType) -> Iterator[tuple[str, object]]:
    """(question, thing) for the module, its functions and classes, and their methods."""
    yield f"What is the module {module.__name__} for?", module
    for name in public_names(module):
        thing = getattr(module, name, None)
        if getattr(thing, "__module__", module.__name__) not in (module.__name__, f"_{module.__name__}"):
            continue
        if inspect.isclass(thing):
            yield f"What is {module.__name__}.{name}?", thing
            for method, value in sorted(vars(thing).items()):
                if not method.startswith("_") and callable(value):
                    yield f"What does {module.__name__}.{name}.{method} do?", value
        elif callable(thing):
            yield f"What does {module.__name__}.{name} do?", thing


def rows() -> Iterator[tuple[str, str]]:
    """(question, answer), each question and each answer once."""
    seen: set[str] = set()
    for module in filter(None, map(imported, module_names())):
        for question, thing in documented(module):
            answer = first_paragraph(thing)
            if answer and question not in seen and answer not in seen:
                seen |= {question, answer}
                yield question, answer


def write(path: Path, pairs: list[tuple[str, str]]) -> None:
    """A CSV file with the columns that a dataset needs."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("input", "output"))
        writer.writerows(pairs)


def main() -> None:
    """Write both files."""
    pairs = list(rows())
    write(EXAMPLES / "python-docs.csv", [pair for pair in pairs if pair[0] not in HELD_OUT])
    write(EXAMPLES / "held-out-questions.csv", [pair for pair in pairs if pair[0] in HELD_OUT])


if __name__ == "__main__":
    main()
