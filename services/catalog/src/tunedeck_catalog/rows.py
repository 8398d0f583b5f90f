"""A dataset's rows as they are kept: JSON Lines, an object a line with `input` and `output`, in UTF-8."""

import csv
import json
from bisect import bisect_left
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from io import StringIO

from tunedeck_catalog.file_check import Pair
from tunedeck_chassis.blobs import CHUNK_BYTES

MAX_PAGE_BYTES = 8 * 1024 * 1024
CSV_HEADER = b"input,output\r\n"

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def json_lines(pairs: Iterable[Pair]) -> bytes:
    """The rows as lines."""
    encode = _ENCODER.encode
    return "".join([f'{{"input":{encode(one)},"output":{encode(other)}}}\n' for one, other in pairs]).encode()


def pairs_of(lines: bytes) -> list[Pair]:
    """The rows of whole lines: the inverse of `json_lines`."""
    rows = map(json.loads, filter(None, lines.decode().split("\n")))
    return [(row["input"], row["output"]) for row in rows]


def csv_lines(pairs: Iterable[Pair]) -> bytes:
    """The rows as CSV, without a header, as our own check reads them back."""
    written = StringIO()
    # With this line end the module quotes a cell for a lone CR too.
    csv.writer(written, lineterminator="\r\n").writerows(pairs)
    return written.getvalue().encode()


async def whole_lines(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The same content, cut after line feeds."""
    rest = b""
    async for piece in pieces:
        end = piece.rfind(b"\n") + 1
        if end:
            yield rest + piece[:end]
            rest = piece[end:]
        else:
            rest += piece


class RowsBefore:
    """Counts, while rows are written, how many of them end before each chunk of the blob."""

    def __init__(self) -> None:
        self.before = [0]
        self._rows = 0
        self._bytes = 0

    async def counted(self, pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """The same pieces, of any sizes."""
        async for piece in pieces:
            self._count(piece)
            yield piece

    def _count(self, piece: bytes) -> None:
        start = 0
        while start < len(piece):
            end = min(len(piece), start + CHUNK_BYTES - self._bytes % CHUNK_BYTES)
            self._rows += piece.count(b"\n", start, end)
            self._bytes += end - start
            if self._bytes % CHUNK_BYTES == 0:
                self.before.append(self._rows)
            start = end


def place_of(row: int, before: list[int]) -> tuple[int, int]:
    """The chunk to start reading in for a row (counted from 0), and the line ends to pass in it."""
    chunk = max(0, bisect_left(before, row) - 1)
    return chunk, row - before[chunk]


async def page(pieces: AsyncIterable[bytes], passed: int, limit: int) -> list[Pair]:
    """Up to `limit` rows after `passed` line ends; fewer when they have more than 8 MiB."""
    found: list[bytes] = []
    size = 0
    rest = b""
    async for piece in pieces:
        lines = (rest + piece).split(b"\n")
        rest = lines.pop()
        skipped = min(passed, len(lines))
        passed -= skipped
        for line in lines[skipped:]:
            found.append(line)
            size += len(line)
            if len(found) == limit or size > MAX_PAGE_BYTES:
                return pairs_of(b"\n".join(found))
    return pairs_of(b"\n".join(found))
