"""The check of a file, run on pieces as they would arrive."""

from collections.abc import Iterable, Iterator

from tunedeck_catalog.file_check import FileCheck, FileReport, Pair
from tunedeck_catalog.reading import Reading


def in_pieces(data: bytes, size: int = 7) -> Iterator[bytes]:
    """The bytes, cut."""
    return (data[at : at + size] for at in range(0, len(data), size))


def pairs_and_report(pieces: Iterable[bytes], reading: Reading) -> tuple[list[Pair], FileReport]:
    """Everything that the check says. Raises FileRefused."""
    check = FileCheck(reading)
    pairs = [pair for piece in pieces for pair in check.feed(piece)]
    pairs += check.finish()
    return pairs, check.report()
