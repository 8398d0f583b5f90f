"""JSON Lines: the same columns and the same kind of report as a CSV."""

import pytest

from tests.support.file_checks import in_pieces, pairs_and_report
from tunedeck_catalog.file_check import FileRefused, FileReport, Pair
from tunedeck_catalog.reading import Mapping, Reading, format_of
from tunedeck_catalog.record_reader import MAX_ROW_CHARACTERS
from tunedeck_contracts.datasets import FileFormat

GOOD = b'{"input": "a", "output": "b"}\n'


def checked(data: bytes, mapping: Mapping | None = None) -> tuple[list[Pair], FileReport]:
    reading = Reading(mapping or Mapping(), FileFormat.JSONL)
    return pairs_and_report(in_pieces(data, 64 * 1024), reading)


def test_the_keys_of_the_first_object_are_the_columns() -> None:
    data = b'{"note": null, "output": "b", "input": "a\\nb"}\r\n\n{"input": "c", "output": "d", "more": 1}'
    pairs, report = checked(data)
    assert report.columns == ["note", "output", "input"]
    assert report.head[0] == {"note": "", "output": "b", "input": "a\nb"}
    assert pairs == [("a\nb", "b"), ("c", "d")]
    assert report.findings == ["Row 1: 'note' is empty.", "Row 3: 'note' is empty."]
    assert (report.rows, report.usable) == (2, 2)


def test_a_number_is_taken_as_it_is_written() -> None:
    pairs, _ = checked(b'{"input": 1.10, "output": -12345678901234567890e5}')
    assert pairs == [("1.10", "-12345678901234567890e5")]


@pytest.mark.parametrize(
    ("line", "finding"),
    [
        (b'{"input": "a"}', "there is no 'output'"),
        (b'{"input": "a", "output": ["b"]}', "'output' is a list, not text"),
        (b'{"input": {}, "output": "b"}', "'input' is an object, not text"),
        (b'{"input": true, "output": "b"}', "'input' is true or false, not text"),
        (b'{"input": "a", "output": null}', "'output' is empty"),
        (b'{"input": " ", "output": "b"}', "'input' is empty"),
        (b'{"input": "\\ud83d", "output": "b"}', "'input' has a NUL or half of a surrogate pair"),
        (b'{"input": "a\\u0000", "output": "b"}', "'input' has a NUL or half of a surrogate pair"),
    ],
)
def test_a_row_that_cannot_be_trained_on_is_found_and_left_out(line: bytes, finding: str) -> None:
    pairs, report = checked(GOOD + line + b"\n" + b'{"input": "c", "output": "d"}\n')
    assert pairs == [("a", "b"), ("c", "d")]
    assert (report.rows, report.usable) == (3, 2)
    assert len(report.findings) == 1
    assert report.findings[0].startswith(f"Row 2: {finding}")
    assert report.findings[0].endswith("; the row is left out of training.")


def test_escaped_characters_of_a_whole_pair_are_text() -> None:
    assert checked(b'{"input": "\\ud83d\\ude00", "output": "\\u00e4"}')[0] == [("😀", "ä")]


def test_repeated_rows_are_found() -> None:
    assert checked(GOOD * 2)[1].findings == ["Row 2: the same input and output as row 1."]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "The file is empty"),
        (b"\n \n", "The file is empty"),
        (GOOD + b"{'input': 1}\n", "Row 2 is not JSON: Expecting property name"),
        (GOOD + b'{"input": NaN}\n', "Row 2 is not JSON: NaN is no JSON value"),
        (GOOD + b"[1]\n", "Row 2 is a list, not an object"),
        (GOOD + b"null\n", "Row 2 is null, not an object"),
        (GOOD + b"[" * 100_000 + b"\n", "Row 2 is nested too deeply"),
        (GOOD + b'{"input": "\xff"}\n', "Row 2 is not UTF-8: byte 0xff at byte 41"),
        (GOOD + b'"' + b"x" * MAX_ROW_CHARACTERS + b'"\n', "Row 2 has more than 1,048,576 characters"),
        (GOOD + b"x" * (3 * MAX_ROW_CHARACTERS), "Row 2 has more than 1,048,576 characters"),
        (b'{"question": "a", "output": "b"}\n', "Missing required 'input' column"),
        (b'{"input": "", "output": "b"}\n', "No row has both"),
    ],
)
def test_what_is_no_json_lines_is_refused_with_the_row(data: bytes, reason: str) -> None:
    with pytest.raises(FileRefused) as raised:
        checked(data)
    assert raised.value.reason.startswith("Failed to parse JSON Lines file: ")
    assert reason in raised.value.reason


def test_columns_are_mapped_as_in_a_csv() -> None:
    pairs, _ = checked(b'{"question": "a", "answer": "b"}\n', Mapping("question", "answer"))
    assert pairs == [("a", "b")]


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.jsonl", "jsonl"), ("A.NDJSON", "jsonl"), ("a.csv", "csv"), ("a.txt", "csv"), ("jsonl", "csv")],
)
def test_the_format_is_told_by_the_files_name(name: str, form: str) -> None:
    assert format_of(name) == form
