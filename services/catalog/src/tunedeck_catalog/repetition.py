"""Which rows of a file are there more than once."""

from array import array
from dataclasses import dataclass

import numpy
import pandas


@dataclass(frozen=True)
class Repetitions:
    """`listed` pairs a row with the first that it repeats; `more` counts the repetitions after them."""

    listed: list[tuple[int, int]]
    more: int


def repetitions(rows: "array[int]", hashes: "array[int]", listed: int) -> Repetitions:
    """The rows whose hash was there before; 16 bytes a row, and no text, are enough.

    `rows` are the row numbers, `hashes` one 64-bit hash for each. Two different
    rows with one hash are expected once in 37 million files of a million rows.
    """
    keys = pandas.Series(numpy.frombuffer(hashes, dtype=numpy.int64))
    repeated = numpy.flatnonzero(keys.duplicated().to_numpy())
    shown = keys.iloc[repeated[:listed]]
    first = keys[keys.isin(shown)].drop_duplicates()
    first_by_key = dict(zip(first.to_numpy().tolist(), first.index.tolist(), strict=True))
    pairs = zip(repeated[:listed].tolist(), shown.tolist(), strict=True)
    return Repetitions(
        listed=[(rows[at], rows[first_by_key[key]]) for at, key in pairs],
        more=max(0, len(repeated) - listed),
    )
