"""CSV records out of bytes.

Rows are numbered as a spreadsheet shows them: the header is row 1, and a cell
with line breaks is still one row.
"""

import csv
from collections.abc import Iterator
from io import StringIO
from itertools import chain

from tunedeck_catalog.record_reader import MAX_ROW_CHARACTERS, Batch, RecordReader, whole_lines

# The limit of the csv module is one for the process, 131,072 by default: a long
# answer is legitimate, and a row's limit holds for its cells too.
csv.field_size_limit(MAX_ROW_CHARACTERS)

# A line after the last: it becomes a record of its own, or part of a row whose quote is still open.
# No text has a NUL.
_END = "\0"


class CsvRecords(RecordReader):
    """Splits text at line feeds alone and parses each block of lines by one call into the csv module."""

    name = "CSV"
    header_rows = 1

    def __init__(self, encoding: str) -> None:
        super().__init__(encoding)
        self._lines = 0

    @property
    def columns(self) -> list[str]:
        """The header's names without white space around them."""
        return [name.strip() for name in self.header or ()]

    def _read(self, text: str, final: bool) -> Batch:
        cut = whole_lines(text, final)
        records, open_lines = self._parsed(text[:cut])
        end = cut - _length_of_last_lines(text[:cut], open_lines)
        self._rest = text[end:]
        self._lines += text.count("\n", 0, end)
        first = self.row + 1
        self.row += len(records)
        if len(text) > MAX_ROW_CHARACTERS:
            self._check_lengths(records, first)
        if final and self._rest:
            row, line = self.row + 1, self._lines + 1
            self._fail(f'Row {row} has a quote (") that is never closed; the row starts on line {line}')
            self._rest = ""
        return self._without_header(first, records)

    def _parsed(self, block: str) -> tuple[list[list[str]], int]:
        """The whole records, and how many lines at the end belong to a row that is still open."""
        if not block:
            return [], 0
        reader = csv.reader(chain(StringIO(block, newline="\n"), (_END,)))
        try:
            records = list(reader)
        except csv.Error as error:
            return self._before(error, block), 0
        last = records.pop()
        if last == [_END]:
            return records, 0
        # Every line end of an open row stands inside quotes, and is kept there; the file's last
        # line may have none.
        return records, sum(cell.count("\n") for cell in last) + (not block.endswith("\n"))

    def _before(self, error: csv.Error, block: str) -> list[list[str]]:
        records = list(_until_error(block))
        row = self.row + len(records) + 1
        if "field limit" in str(error):
            lines = sum(1 + sum(cell.count("\n") for cell in record) for record in records)
            self._fail(_over_the_limit(row, self._lines + lines + 1))
        else:
            self._fail(f"Row {row} cannot be read: {_explain(error)}")
        return records

    def _check_lengths(self, records: list[list[str]], first: int) -> None:
        for row, record in enumerate(records, start=first):
            if sum(map(len, record)) > MAX_ROW_CHARACTERS:
                self._fail(f"Row {row} has more than {MAX_ROW_CHARACTERS:,} characters")

    def _without_header(self, first: int, records: list[list[str]]) -> Batch:
        if self.header is not None:
            return Batch(first, records)
        for at, record in enumerate(records):
            if record:
                self.header = record
                return Batch(first + at + 1, records[at + 1 :])
        return Batch(first, [])

    def _too_long(self) -> str:
        return _over_the_limit(self.row + 1, self._lines + 1)


def _until_error(block: str) -> Iterator[list[str]]:
    try:
        yield from csv.reader(StringIO(block, newline="\n"))
    except csv.Error:
        return


def _length_of_last_lines(block: str, count: int) -> int:
    """Characters of the last `count` lines of a block."""
    if not count:
        return 0
    ended = block.removesuffix("\n")
    parts = ended.rsplit("\n", count)
    return len(block) - (len(parts[0]) + 1 if len(parts) > count else 0)


def _over_the_limit(row: int, line: int) -> str:
    return (
        f"Row {row} has more than {MAX_ROW_CHARACTERS:,} characters; "
        f"it starts on line {line}, where a quote may not be closed"
    )


def _explain(error: csv.Error) -> str:
    if "new-line character" in str(error):
        return "a carriage return stands alone; end lines with LF or CRLF"
    return str(error)
