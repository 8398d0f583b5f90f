"""CSV records out of bytes: strict UTF-8, limits, and the number of each row.

Rows are numbered as a spreadsheet shows them: the header is row 1, and a cell
with line breaks is still one row.
"""

import csv
from collections.abc import Iterable, Iterator

MAX_ROW_BYTES = 1024 * 1024
MAX_COLUMNS = 200
MAX_ROWS = 1_000_000

_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")

# The limit of the csv module is one for the process, 131,072 by default: a long
# answer is legitimate, and a row's limit holds for its cells too.
csv.field_size_limit(MAX_ROW_BYTES)


class Unreadable(Exception):
    """The bytes are no CSV in UTF-8 within the limits; the text says what and where."""


class CsvRecords:
    """Iterates the records of a CSV, the header too; blank lines are counted and left out.

    Memory is bounded by one piece of input and one row. `row` is the number of
    the record returned last.

    Raises:
        Unreadable: while iterating.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._lines = _Lines(pieces)
        self._reader = csv.reader(self._lines)
        self.row = 0

    def __iter__(self) -> Iterator[list[str]]:
        while True:
            self.row += 1
            self._lines.start_row(self.row)
            record = self._next()
            if record is None:
                return
            if record:
                yield record

    def _next(self) -> list[str] | None:
        try:
            record = next(self._reader, None)
        except csv.Error as error:
            raise Unreadable(f"Row {self.row} cannot be read: {_explain(error)}") from None
        if record is None:
            return None
        # A record is complete with its last line; only one with an open quote asks for a line after the end.
        if self._lines.ended:
            raise Unreadable(
                f'Row {self.row} has a quote (") that is never closed; '
                f"the row starts on line {self._lines.row_line}"
            )
        if len(record) > MAX_COLUMNS:
            raise Unreadable(f"Row {self.row} has {len(record)} columns; {MAX_COLUMNS} is the limit")
        if self.row > MAX_ROWS + 1:
            raise Unreadable(f"The file has more than {MAX_ROWS:,} rows, which is the limit")
        return record


class _Lines:
    """Decoded lines with their ends, checked as they pass."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._split = _split_lines(pieces)
        self._offset = 0
        self._line = 0
        self._row = 0
        self._row_bytes = 0
        self.row_line = 1
        self.ended = False

    def start_row(self, row: int) -> None:
        self._row = row
        self._row_bytes = 0
        self.row_line = self._line + 1

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = next(self._split, None)
        if line is None:
            self.ended = True
            raise StopIteration
        self._line += 1
        self._row_bytes += len(line)
        self._check_size()
        text = self._decode(line)
        self._offset += len(line)
        return text

    def _check_size(self) -> None:
        if self._row_bytes > MAX_ROW_BYTES:
            raise Unreadable(
                f"Row {self._row} has more than {MAX_ROW_BYTES:,} bytes; "
                f"it starts on line {self.row_line}, where a quote may not be closed"
            )

    def _decode(self, line: bytes) -> str:
        if self._offset == 0 and line.startswith(_UTF16_BOMS):
            raise Unreadable("The file is in UTF-16; save it as UTF-8")
        if (nul := line.find(b"\0")) >= 0:
            raise Unreadable(f"Row {self._row} has a NUL byte, at byte {self._offset + nul} of the file")
        try:
            return line.removeprefix(_BOM).decode() if self._offset == 0 else line.decode()
        except UnicodeDecodeError as error:
            bom = len(_BOM) if self._offset == 0 and line.startswith(_BOM) else 0
            at = self._offset + bom + error.start
            byte = error.object[error.start]
            raise Unreadable(
                f"Row {self._row} is not UTF-8: byte 0x{byte:02x} at byte {at} of the file; save it as UTF-8"
            ) from None


def _split_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Lines that end in LF, the last as it is. A line past the row limit comes in parts, to be refused."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line + b"\n"
        if len(rest) > MAX_ROW_BYTES:
            yield rest
            rest = b""
    if rest:
        yield rest


def _explain(error: csv.Error) -> str:
    if "new-line character" in str(error):
        return "a carriage return stands alone; end lines with LF or CRLF"
    return str(error)
