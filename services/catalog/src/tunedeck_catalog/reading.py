"""How a file is to be read."""

from dataclasses import dataclass
from pathlib import PurePath

from tunedeck_contracts.datasets import FileFormat
from tunedeck_contracts.text_encodings import UTF_8

_JSON_LINES_SUFFIXES = (".jsonl", ".ndjson", ".jsonlines")


@dataclass(frozen=True)
class Mapping:
    """Which columns hold the prompt and the answer."""

    input: str = "input"
    output: str = "output"


@dataclass(frozen=True)
class Reading:
    """The columns, the format and the text encoding of a file."""

    mapping: Mapping = Mapping()
    format: FileFormat = FileFormat.CSV
    encoding: str = UTF_8


def format_of(filename: str) -> FileFormat:
    """What the file's name says; CSV when it says nothing."""
    is_json_lines = PurePath(filename).suffix.lower() in _JSON_LINES_SUFFIXES
    return FileFormat.JSONL if is_json_lines else FileFormat.CSV
