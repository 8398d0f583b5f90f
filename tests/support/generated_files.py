"""Files of all kinds for the check: good ones, nearly good ones, and bytes of any kind."""

import csv
import io
import json

from hypothesis import strategies as st

from tunedeck_catalog.reading import Reading
from tunedeck_contracts.datasets import FileFormat
from tunedeck_contracts.text_encodings import ENCODINGS, UTF_8

characters = st.characters(codec="utf-8", exclude_characters="\0")
# Mostly what a parser trips over, now and then any character.
cells = st.one_of(
    st.text(st.sampled_from("ab ,\"\n\r\t;'ä\ufeff\u2028"), max_size=8),
    st.text(characters, max_size=12),
    st.just("x" * 140_000),
)
small_cells = st.one_of(st.text(st.sampled_from('ab ,"\n\r;ä'), max_size=6), st.text(characters, max_size=6))
TRAPS = [
    *(b"input", b"output", b",", b'"', b'""', b"\n", b"\r\n", b"\r", b"a", b" "),
    *(b"\0", b"\xff", b"\xc3", b"\xa4", b"\xef\xbb\xbf", b"\xff\xfe"),
    *(b"{", b"}", b'{"input":"a","output":"b"}', b'"\\ud800"', b":", b"[", b"1e999", b"null", b"NaN"),
    b"x" * 70_000,
]
traps = st.lists(st.sampled_from(TRAPS), max_size=25).map(b"".join)
readings = st.builds(
    Reading,
    format=st.sampled_from(FileFormat),
    encoding=st.one_of(st.just(UTF_8), st.sampled_from(ENCODINGS)),
)


def as_csv(rows: list[list[str]], quoting: int, line_end: str) -> str:
    """What a spreadsheet would write: every cell with a line break is quoted."""
    written = io.StringIO(newline="")
    # With CRLF the module quotes a cell for each of its two characters.
    csv.writer(written, quoting=quoting, lineterminator="\r\n").writerows(rows)
    if line_end == "\r\n" or any("\r\n" in cell for row in rows for cell in row):
        return written.getvalue()
    return written.getvalue().replace("\r\n", line_end)


tables = st.lists(st.lists(small_cells, min_size=2, max_size=2), min_size=1, max_size=8).map(
    lambda rows: [["input", "output"], *rows]
)
csv_texts = st.builds(
    as_csv, tables, st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.sampled_from(["\n", "\r\n"])
)
values = st.one_of(small_cells, st.none(), st.booleans(), st.integers(), st.floats(), st.lists(st.integers()))
json_texts = st.lists(
    st.one_of(
        st.dictionaries(st.sampled_from(["input", "output", "note"]), values).map(json.dumps),
        st.builds(lambda one, two: json.dumps({"input": one, "output": two}), cells, cells),
        st.sampled_from(["", " ", "[]", "3", '{"input": NaN}', "[" * 5000, '{"input":"\\ud83d"}']),
    ),
    max_size=6,
).map("\n".join)


@st.composite
def damaged(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> bytes:
    """A good file in some encoding, with up to two places overwritten."""
    data = bytearray(draw(texts).encode(draw(st.sampled_from([UTF_8, "utf-16", "latin-1"])), "replace"))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 2))] = draw(st.sampled_from(TRAPS[:-1]))
    return bytes(data)


files = st.one_of(
    st.binary(max_size=200),
    traps,
    traps.map(lambda tail: b"input,output\n" + tail),
    damaged(csv_texts),
    damaged(json_texts),
    st.builds(lambda one, two: f'input,output\n"{one}",{two}\n'.encode(), cells, cells),
)
