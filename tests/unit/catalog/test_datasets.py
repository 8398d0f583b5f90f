"""Small parts of datasets: slugs and sizes."""

import pytest

from tunedeck_catalog.datasets import readable_size, slug


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
