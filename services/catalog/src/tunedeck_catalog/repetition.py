"""Which rows of a file are there more than once."""

from array import array
from collections.abc import Iterator

import numpy
import pandas


def first_seen(rows: "array[int]", hashes: "array[int]", listed: int) -> Iterator[tuple[int, int]]:
    """(row, the row it repeats) for every repetition; 16 bytes a row, and no text, are enough.

    `rows` are the row numbers, `hashes` one 64-bit hash for each. Two different
    rows with one hash are expected once in 37 million files of a million rows.
    After `listed` repetitions the first row is not looked up but given as 0.
    """
    keys = pandas.Series(numpy.frombuffer(hashes, dtype=numpy.uint64))
    repeated = numpy.flatnonzero(keys.duplicated().to_numpy())
    if not len(repeated):
        return
    shown = keys.iloc[repeated[:listed]]
    first = keys[keys.isin(shown)].drop_duplicates()
    first_by_key = dict(zip(first.to_numpy().tolist(), first.index.tolist(), strict=True))
    for at, key in zip(repeated[:listed].tolist(), shown.tolist(), strict=True):
        yield rows[at], rows[first_by_key[key]]
    for at in repeated[listed:].tolist():
        yield rows[at], 0
