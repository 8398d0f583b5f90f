"""What the readers of CSV and JSON Lines share: pieces of bytes in, numbered records out, within limits."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from tunedeck_catalog.decoding import Decoder, NotText

MAX_ROW_CHARACTERS = 1024 * 1024
MAX_COLUMNS = 200
MAX_ROWS = 1_000_000


class Unreadable(Exception):
    """The bytes are no such file within the limits; the text says what and where."""


@dataclass(frozen=True)
class Batch:
    """Records that follow each other; the first is row `first_row` of the file, a blank line is `[]`.

    `left_out` says of rows that cannot be trained on why, where the reader knows.
    """

    first_row: int
    records: list[list[str]]
    left_out: dict[int, str] = field(default_factory=dict)


class RecordReader(ABC):
    """Reads a file that arrives in pieces.

    Memory is bounded by one piece and one row. What is wrong with the file is
    raised by `raise_failure`, so that the records before it are used first.
    """

    name: str
    header_rows: int
    header: list[str] | None = None

    def __init__(self, encoding: str) -> None:
        self._decoder = Decoder(encoding)
        self._rest = ""
        self._failure: Unreadable | None = None
        self.row = 0

    @property
    def columns(self) -> list[str]:
        """The header's names as they are used."""
        return self.header or []

    def feed(self, data: bytes, *, final: bool = False) -> Batch:
        """The data's records that these bytes complete; `final` with the last bytes."""
        bad: NotText | None = None
        try:
            text = self._decoder.feed(data, final=final)
        except NotText as error:
            text, bad = error.before, error
        batch = self._read(self._rest + text, final and bad is None)
        if bad is not None:
            self._fail(f"Row {self.row + 1} {bad}")
        elif len(self._rest) > MAX_ROW_CHARACTERS:
            self._fail(self._too_long())
        if len(self.columns) > MAX_COLUMNS:
            self._fail(f"Row 1 has {len(self.columns)} columns; {MAX_COLUMNS} is the limit")
            self.header = None
        if self.row > MAX_ROWS + self.header_rows:
            self._fail(f"The file has more than {MAX_ROWS:,} rows, which is the limit")
        return batch

    def raise_failure(self) -> None:
        """Raise Unreadable if the file cannot be read on."""
        if self._failure is not None:
            raise self._failure

    @abstractmethod
    def _read(self, text: str, final: bool) -> Batch:
        """Records of the whole rows in `text`; the unfinished one becomes `_rest`. Moves `row` on."""

    @abstractmethod
    def _too_long(self) -> str:
        """The sentence about the row after `row`, which is over the limit."""

    def _fail(self, reason: str) -> None:
        self._failure = self._failure or Unreadable(reason)


def whole_lines(text: str, final: bool) -> int:
    """Where the last whole line of the text ends; the end of the file ends a line too."""
    return len(text) if final else text.rfind("\n") + 1
