"""What the commands print: data on standard output, for people or as JSON; all else on standard error."""

import json
import os
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDEST = 10_000
console = Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDEST)
"""A script reads whole rows: where no person reads, nothing is wrapped."""
notes = Console(stderr=True, highlight=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, for scripts.")]


def print_json(value: Any) -> None:
    """One JSON document, in one line where no person reads it."""
    text = json.dumps(value, ensure_ascii=False, indent=2 if console.is_terminal else None)
    print(text, flush=True)


def note(sentence: str) -> None:
    """Say something that is no data."""
    notes.print(plain(sentence), soft_wrap=True)


def table(*columns: str) -> Table:
    """A table without a frame; a uid is never cut, as it is there to be copied."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        made.add_column(column, no_wrap=number == 0, overflow="fold")
    return made


def plain(text: object) -> Text:
    """Text of others as it is: no markup, and nothing that a terminal would obey."""
    return Text("".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in str(text)))
