"""The check of a whole file, and its rows for training, in one pass and bounded memory."""

from array import array
from dataclasses import dataclass

from tunedeck_catalog.csv_records import CsvRecords
from tunedeck_catalog.findings import Findings, quoted
from tunedeck_catalog.json_line_records import LEFT_OUT, JsonLineRecords
from tunedeck_catalog.reading import Reading
from tunedeck_catalog.record_reader import Batch, Unreadable
from tunedeck_catalog.repetition import repetitions
from tunedeck_contracts.datasets import FileFormat

PREVIEW_ROWS = 5
REFUSED_ROWS = 3
PREVIEW_CELL_CHARACTERS = 10_000
# Small enough for the processor's cache, large enough that work by the block is work in C.
_SLICE_BYTES = 128 * 1024

Row = dict[str, str]
Pair = tuple[str, str]


@dataclass(frozen=True)
class FileReport:
    """What the check found. `rows` counts all of the data, `usable` what training gets."""

    columns: list[str]
    head: list[Row]
    findings: list[str]
    rows: int
    usable: int


class FileRefused(Exception):
    """The file cannot become a dataset as it is; carries what could be read of it."""

    def __init__(self, reason: str, columns: list[str], head: list[Row]) -> None:
        super().__init__(reason)
        self.reason = reason
        self.columns = columns
        self.head = head


class FileCheck:
    """One pass over a file that arrives in pieces: `feed` each, then `finish`, then ask for `report`.

    Rows with an empty input or output, or with a wrong number of cells, are found and left out.
    """

    def __init__(self, reading: Reading) -> None:
        self._mapping = reading.mapping
        self._required = (reading.mapping.input, reading.mapping.output)
        self._records = (
            JsonLineRecords(reading.encoding, self._required)
            if reading.format is FileFormat.JSONL
            else CsvRecords(reading.encoding)
        )
        self._columns: list[str] | None = None
        self._places = (0, 0)
        self._missing: str | None = None
        self._head: list[Row] = []
        self._findings = Findings()
        self._rows = 0
        self._pair_rows = array("L")
        self._pair_hashes = array("q")

    def feed(self, data: bytes) -> list[Pair]:
        """(input, output) of the usable rows that these bytes complete.

        Raises:
            FileRefused: the file cannot be parsed, or lacks a column.
        """
        pairs: list[Pair] = []
        for start in range(0, len(data), _SLICE_BYTES):
            pairs += self._taken(data[start : start + _SLICE_BYTES], final=False)
        return pairs

    def finish(self) -> list[Pair]:
        """The pairs of the rows that the end of the file completes.

        Raises:
            FileRefused: as `feed`, or the file has no usable row.
        """
        pairs = self._taken(b"", final=True)
        if self._columns is None:
            raise self._refused("The file is empty")
        if self._missing:
            raise self._refused(self._missing)
        if not self._rows:
            raise self._refused("The file has a header and no rows")
        if not self._pair_rows:
            raise self._refused("No row has both an input and an output")
        return pairs

    def report(self) -> FileReport:
        """The findings of the whole file; those about repeated rows come last."""
        repeated = repetitions(self._pair_rows, self._pair_hashes, self._findings.room)
        for row, first in repeated.listed:
            self._findings.add(f"Row {row}: the same input and output as row {first}.")
        self._findings.count(repeated.more)
        return FileReport(
            columns=self._columns or [],
            head=self._head,
            findings=self._findings.all(),
            rows=self._rows,
            usable=len(self._pair_rows),
        )

    def _taken(self, data: bytes, *, final: bool) -> list[Pair]:
        batch = self._records.feed(data, final=final)
        if self._columns is None and self._records.header is not None:
            self._columns = self._records.columns
            self._read_header(self._records.header, self._columns)
        pairs: list[Pair] = []
        if self._columns is not None:
            self._look_at_head(batch, self._columns)
            if not self._missing:
                pairs = self._usable(batch, self._columns)
        if self._missing and len(self._head) >= REFUSED_ROWS:
            raise self._refused(self._missing)
        try:
            self._records.raise_failure()
        except Unreadable as error:
            # A missing column is the better reason to give.
            raise self._refused(self._missing or str(error)) from None
        return pairs

    def _read_header(self, header: list[str], columns: list[str]) -> None:
        self._findings.of_header(header, columns)
        self._missing = self._missing_of(columns)
        if not self._missing:
            self._places = columns.index(self._mapping.input), columns.index(self._mapping.output)

    def _missing_of(self, columns: list[str]) -> str | None:
        wanted = dict.fromkeys(self._required)
        if twice := [name for name in wanted if columns.count(name) > 1]:
            return f"The column {quoted(twice[0])} is there more than once"
        missing = [quoted(name) for name in wanted if name not in columns]
        if not missing:
            return None
        return f"Missing required {' and '.join(missing)} column{'s' if len(missing) > 1 else ''}"

    def _look_at_head(self, batch: Batch, columns: list[str]) -> None:
        for record in batch.records:
            if len(self._head) >= PREVIEW_ROWS:
                return
            if record:
                self._head.append({name: _cut(cell) for name, cell in zip(columns, record, strict=False)})

    def _usable(self, batch: Batch, columns: list[str]) -> list[Pair]:
        records = batch.records
        if not batch.left_out and set(map(len, records)) == {len(columns)}:
            by_column = list(zip(*records, strict=True))
            if not any(map(_has_empty, by_column)):
                self._rows += len(records)
                pairs = list(zip(by_column[self._places[0]], by_column[self._places[1]], strict=True))
                self._remember(range(batch.first_row, batch.first_row + len(records)), pairs)
                return pairs
        return self._row_by_row(batch, columns)

    def _row_by_row(self, batch: Batch, columns: list[str]) -> list[Pair]:
        rows: list[int] = []
        pairs: list[Pair] = []
        for row, record in enumerate(batch.records, start=batch.first_row):
            if not record:
                continue
            self._rows += 1
            if (reason := batch.left_out.get(row)) is not None:
                self._findings.add(reason)
            elif self._is_whole(row, record, columns):
                rows.append(row)
                pairs.append((record[self._places[0]], record[self._places[1]]))
        self._remember(rows, pairs)
        return pairs

    def _is_whole(self, row: int, record: list[str], columns: list[str]) -> bool:
        if len(record) != len(columns):
            cells = f"{len(record)} cells where the header has {len(columns)}"
            self._findings.add(f"Row {row}: {cells}; {LEFT_OUT}")
            return False
        empty = [name for name, cell in zip(columns, record, strict=True) if not cell.strip()]
        is_left_out = any(name in self._required for name in empty)
        for name in empty:
            self._findings.add(
                f"Row {row}: {quoted(name)} is empty" + (f"; {LEFT_OUT}" if is_left_out else ".")
            )
        return not is_left_out

    def _remember(self, rows: "range | list[int]", pairs: list[Pair]) -> None:
        # Python's own hash of text is keyed anew in each process: nobody can make rows that collide.
        self._pair_rows.extend(rows)
        self._pair_hashes.extend(map(hash, pairs))

    def _refused(self, reason: str) -> FileRefused:
        text = f"Failed to parse {self._records.name} file: {reason}"
        return FileRefused(text, self._columns or [], self._head[:REFUSED_ROWS])


def _has_empty(cells: tuple[str, ...]) -> bool:
    return "" in cells or any(map(str.isspace, cells))


def _cut(cell: str) -> str:
    return cell if len(cell) <= PREVIEW_CELL_CHARACTERS else cell[:PREVIEW_CELL_CHARACTERS] + "…"
