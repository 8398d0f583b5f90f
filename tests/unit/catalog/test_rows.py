"""The rows of a dataset: as lines, by page, and as a CSV that reads back equal."""

import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.file_checks import in_pieces, pairs_and_report
from tunedeck_catalog import rows
from tunedeck_catalog.file_check import Pair
from tunedeck_catalog.reading import Reading
from tunedeck_catalog.rows import (
    CSV_HEADER,
    RowsBefore,
    csv_lines,
    json_lines,
    page,
    pairs_of,
    place_of,
    whole_lines,
)
from tunedeck_contracts.datasets import FileFormat

CHUNK = 40

text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(str.strip)
some_pairs = st.lists(st.tuples(text, text), min_size=1, max_size=30)


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for piece in in_pieces(data, size):
        yield piece


def test_rows_are_one_object_a_line_whatever_is_in_them() -> None:
    pairs = [("a\nb", 'say "ä"'), ("\u2028", "\x7f")] * 100
    lines = json_lines(pairs).split(b"\n")
    assert lines.pop() == b""
    assert [json.loads(line) for line in lines] == [{"input": one, "output": two} for one, two in pairs]


@given(pairs=some_pairs)
def test_what_is_kept_reads_back_equal(pairs: list[Pair]) -> None:
    assert pairs_of(json_lines(pairs)) == pairs


@given(pairs=some_pairs, size=st.integers(1, 50))
@pytest.mark.parametrize("form", list(FileFormat))
def test_a_download_reads_back_equal_by_our_own_check(form: FileFormat, pairs: list[Pair], size: int) -> None:
    data = json_lines(pairs) if form is FileFormat.JSONL else CSV_HEADER + csv_lines(pairs)
    assert pairs_and_report(in_pieces(data, size), Reading(format=form))[0] == pairs


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "CHUNK_BYTES", CHUNK)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("cut", [1, 7, 40, 1000])
async def test_every_page_is_found_from_the_chunk_where_it_starts(cut: int) -> None:
    pairs = [(f"q{n}" * (n % 7 + 1), "a" * (n % 50 + 1)) for n in range(60)]
    data = json_lines(pairs)
    counting = RowsBefore()
    assert b"".join([piece async for piece in counting.counted(pieces(data, cut))]) == data
    assert counting.before == [data[: at * CHUNK].count(b"\n") for at in range(len(data) // CHUNK + 1)]
    for offset in range(60):
        chunk, passed = place_of(offset, counting.before)
        found = await page(pieces(data[chunk * CHUNK :], CHUNK), passed, 3)
        assert found == pairs[offset : offset + 3]


async def test_a_page_ends_early_when_its_rows_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_PAGE_BYTES", 100)
    data = json_lines([("q", "a" * 60)] * 5)
    assert len(await page(pieces(data, 10), 0, 5)) == 2


@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_pieces_are_cut_after_lines(size: int) -> None:
    data = b"a\nbcd\n\ne\n"
    cut = [piece async for piece in whole_lines(pieces(data, size))]
    assert b"".join(cut) == data
    assert all(piece.endswith(b"\n") for piece in cut)
