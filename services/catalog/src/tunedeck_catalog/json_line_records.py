"""Records out of JSON Lines: an object a line, its keys the columns.

The keys of the first object are the columns. Rows are numbered as the lines
are. A number is taken as it is written, as a CSV would have it; true, false, a
list or an object is no text, and its row is left out where it stands in a
column that is trained on.
"""

import json
from collections.abc import Collection
from typing import Any, NoReturn

from tunedeck_catalog.record_reader import MAX_ROW_CHARACTERS, Batch, RecordReader, Unreadable, whole_lines

LEFT_OUT = "the row is left out of training."
_KINDS = {bool: "true or false", list: "a list", dict: "an object", str: "text or a number"}
_ABSENT = object()
_REPLACEMENT = "\ufffd"


class JsonLineRecords(RecordReader):
    """`required` are the columns whose values must be text."""

    name = "JSON Lines"
    header_rows = 0

    def __init__(self, encoding: str, required: Collection[str]) -> None:
        super().__init__(encoding)
        self._required = required

    def _read(self, text: str, final: bool) -> Batch:
        cut = whole_lines(text, final)
        self._rest = text[cut:]
        batch = Batch(self.row + 1, [])
        # A file that ends in a line feed has no line after it.
        for line in text[:cut].removesuffix("\n").split("\n") if cut else ():
            try:
                batch.records.append(self._record(line, self.row + 1, batch.left_out))
            except Unreadable as error:
                self._fail(str(error))
                break
            self.row += 1
        return batch

    def _record(self, line: str, row: int, left_out: dict[int, str]) -> list[str]:
        if not line.strip(" \t\r"):
            return []
        found = self._object(line, row)
        if self.header is None:
            self.header = [_sound(name) for name in found]
        # Only an escape can bring what the decoder has not refused already.
        is_escaped = "\\u" in line
        for name in self._required:
            if problem := _problem(name, found.get(name, _ABSENT), is_escaped):
                left_out.setdefault(row, f"Row {row}: {problem}; {LEFT_OUT}")
        cells = [_cell(found.get(name)) for name in self.header]
        return [_sound(cell) for cell in cells] if is_escaped else cells

    def _object(self, line: str, row: int) -> dict[str, Any]:
        if len(line) > MAX_ROW_CHARACTERS:
            raise Unreadable(self._too_long())
        try:
            found = _DECODER.decode(line)
        except json.JSONDecodeError as error:
            raise Unreadable(f"Row {row} is not JSON: {error.msg}, at character {error.pos + 1}") from None
        except ValueError as error:
            raise Unreadable(f"Row {row} is not JSON: {error}") from None
        except RecursionError:
            raise Unreadable(f"Row {row} is nested too deeply") from None
        if not isinstance(found, dict):
            kind = _KINDS.get(type(found), "null")
            raise Unreadable(f"Row {row} is {kind}, not an object with a key for each column")
        return found

    def _too_long(self) -> str:
        return f"Row {self.row + 1} has more than {MAX_ROW_CHARACTERS:,} characters"


def _problem(name: str, value: Any, is_escaped: bool) -> str | None:
    if value is _ABSENT:
        return f"there is no '{name}'"
    if isinstance(value, bool | list | dict):
        return f"'{name}' is {_KINDS[type(value)]}, not text"
    if is_escaped and isinstance(value, str) and _sound(value) != value:
        return f"'{name}' has a NUL or half of a surrogate pair, which is no text"
    return None


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else f"({_KINDS[type(value)]})"


def _sound(text: str) -> str:
    """The text with what cannot be stored replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", _REPLACEMENT)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON value")


_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse)
