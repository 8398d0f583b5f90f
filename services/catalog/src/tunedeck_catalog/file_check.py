"""The check of a whole CSV, and its rows for training, in one pass and bounded memory."""

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tunedeck_catalog.csv_records import CsvRecords, Unreadable
from tunedeck_catalog.repetition import first_seen

MAX_FINDINGS = 100
PREVIEW_ROWS = 5
REFUSED_ROWS = 3
PREVIEW_CELL_CHARACTERS = 10_000
_NAME_CHARACTERS = 60

Row = dict[str, str]


@dataclass(frozen=True)
class Mapping:
    """Which columns hold the prompt and the answer."""

    input: str = "input"
    output: str = "output"


@dataclass(frozen=True)
class CsvReport:
    """What the check found. `rows` counts all of the data, `usable` what training gets."""

    columns: list[str]
    head: list[Row]
    findings: list[str]
    rows: int
    usable: int


class CsvRefused(Exception):
    """The file cannot become a dataset as it is; carries what could be read of it."""

    def __init__(self, reason: str, columns: list[str], head: list[Row]) -> None:
        super().__init__(reason)
        self.reason = reason
        self.columns = columns
        self.head = head


class _Findings:
    """Keeps the first hundred, counts the rest."""

    def __init__(self) -> None:
        self._listed: list[str] = []
        self._more = 0

    def add(self, finding: str) -> None:
        if len(self._listed) < MAX_FINDINGS:
            self._listed.append(finding)
        else:
            self._more += 1

    def all(self) -> list[str]:
        rest = [f"... and {self._more:,} more findings like these."] if self._more else []
        return self._listed + rest


class CsvCheck:
    """One pass over a CSV.

    Iterate `pairs()` to the end, then ask for `report()`. Rows with an empty
    input or output, or with a wrong number of cells, are found and left out.
    """

    def __init__(self, pieces: Iterable[bytes], mapping: Mapping) -> None:
        self._records = CsvRecords(pieces)
        self._mapping = mapping
        self._columns: list[str] = []
        self._head: list[Row] = []
        self._findings = _Findings()
        self._rows = 0
        self._pair_rows = array("L")
        self._pair_hashes = array("Q")

    def pairs(self) -> Iterator[tuple[str, str]]:
        """(input, output) of each usable row.

        Raises:
            CsvRefused: the file cannot be parsed, is empty, or lacks a column.
        """
        try:
            yield from self._pairs()
        except Unreadable as error:
            raise self._refused(str(error)) from None

    def report(self) -> CsvReport:
        """The findings of the whole file; those about repeated rows come last."""
        for row, first in first_seen(self._pair_rows, self._pair_hashes, MAX_FINDINGS):
            self._findings.add(f"Row {row}: the same input and output as row {first}.")
        return CsvReport(
            columns=self._columns,
            head=self._head,
            findings=self._findings.all(),
            rows=self._rows,
            usable=len(self._pair_rows),
        )

    def _pairs(self) -> Iterator[tuple[str, str]]:
        records = iter(self._records)
        self._read_header(next(records, None))
        if missing := self._missing():
            self._read_head_only(records)
            raise self._refused(missing)
        at_input = self._columns.index(self._mapping.input)
        at_output = self._columns.index(self._mapping.output)
        for record in records:
            self._rows += 1
            if len(self._head) < PREVIEW_ROWS:
                self._head.append(self._as_row(record))
            if self._is_whole(record):
                pair = record[at_input], record[at_output]
                self._remember(pair)
                yield pair
        if not self._rows:
            raise self._refused("The file has a header and no rows")
        if not self._pair_rows:
            raise self._refused("No row has both an input and an output")

    def _read_header(self, header: list[str] | None) -> None:
        if header is None:
            raise Unreadable("The file is empty")
        self._columns = [name.strip() for name in header]
        for position, (name, raw) in enumerate(zip(self._columns, header, strict=True), start=1):
            if not name:
                self._findings.add(f"Row 1: column {position} has no name.")
            elif name != raw:
                self._findings.add(f"Row 1: white space around the column name {_short(name)} is ignored.")
            if name and name in self._columns[: position - 1]:
                self._findings.add(f"Row 1: the column {_short(name)} is there more than once.")

    def _missing(self) -> str | None:
        wanted = dict.fromkeys((self._mapping.input, self._mapping.output))
        if twice := [name for name in wanted if self._columns.count(name) > 1]:
            return f"The column {_short(twice[0])} is there more than once"
        missing = [_short(name) for name in wanted if name not in self._columns]
        if not missing:
            return None
        return f"Missing required {' and '.join(missing)} column{'s' if len(missing) > 1 else ''}"

    def _read_head_only(self, records: Iterator[list[str]]) -> None:
        try:
            for _, record in zip(range(REFUSED_ROWS), records, strict=False):
                self._head.append(self._as_row(record))
        except Unreadable:
            # The missing column is the better reason to give.
            return

    def _is_whole(self, record: list[str]) -> bool:
        row = self._records.row
        if len(record) != len(self._columns):
            self._findings.add(
                f"Row {row}: {len(record)} cells where the header has {len(self._columns)}; "
                "the row is left out of training."
            )
            return False
        empty = [name for name, cell in zip(self._columns, record, strict=True) if not cell.strip()]
        left_out = any(name in (self._mapping.input, self._mapping.output) for name in empty)
        for name in empty:
            ending = "; the row is left out of training." if left_out else "."
            self._findings.add(f"Row {row}: {_short(name)} is empty{ending}")
        return not left_out

    def _remember(self, pair: tuple[str, str]) -> None:
        digest = hashlib.blake2b(f"{len(pair[0])}:{pair[0]}{pair[1]}".encode(), digest_size=8).digest()
        self._pair_rows.append(self._records.row)
        self._pair_hashes.append(int.from_bytes(digest))

    def _as_row(self, record: list[str]) -> Row:
        return {name: _cut(cell) for name, cell in zip(self._columns, record, strict=False)}

    def _refused(self, reason: str) -> CsvRefused:
        return CsvRefused(f"Failed to parse CSV file: {reason}", self._columns, self._head[:REFUSED_ROWS])


def check(pieces: Iterable[bytes], mapping: Mapping) -> CsvReport:
    """Check a CSV without using its rows.

    Raises:
        CsvRefused: the file cannot become a dataset as it is.
    """
    found = CsvCheck(pieces, mapping)
    for _ in found.pairs():
        pass
    return found.report()


def _cut(cell: str) -> str:
    return cell if len(cell) <= PREVIEW_CELL_CHARACTERS else cell[:PREVIEW_CELL_CHARACTERS] + "…"


def _short(name: str) -> str:
    return f"'{name}'" if len(name) <= _NAME_CHARACTERS else f"'{name[:_NAME_CHARACTERS]}…'"
