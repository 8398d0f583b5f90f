"""Small parts of datasets: slugs, sizes, the canonical rows."""

import json

import pytest

from tunedeck_catalog.datasets import json_lines, readable_size, slug


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Customer Support Q&A", "customer-support-q-a"),
        ("  --  ", "dataset"),
        ("日本語", "dataset"),
        ("x" * 200, "x" * 50),
    ],
)
def test_slug(name: str, expected: str) -> None:
    assert slug(name) == expected


def test_sizes_are_for_people() -> None:
    assert readable_size(10) == "0.0 KB"
    assert readable_size(2_411_725) == "2.3 MB"


def test_rows_are_one_object_a_line_whatever_is_in_them() -> None:
    pairs = [("a\nb", 'say "ä"'), ("\u2028", "\x7f")] * 10_000
    lines = b"".join(json_lines(iter(pairs))).split(b"\n")
    assert lines.pop() == b""
    assert [tuple(json.loads(line).values()) for line in lines] == pairs
