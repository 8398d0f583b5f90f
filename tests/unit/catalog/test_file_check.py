"""The check of a CSV: what it finds, what it refuses, and in which row."""

import pytest

from tests.support.file_checks import in_pieces, pairs_and_report
from tunedeck_catalog.file_check import FileRefused, FileReport
from tunedeck_catalog.reading import Mapping, Reading
from tunedeck_catalog.record_reader import MAX_COLUMNS, MAX_ROW_CHARACTERS
from tunedeck_contracts.datasets import FileFormat

HEADER = b"input,output\n"


def report(data: bytes, mapping: Mapping | None = None) -> FileReport:
    return pairs_and_report(in_pieces(data), Reading(mapping or Mapping()))[1]


def refusal(data: bytes, piece: int = 64 * 1024) -> FileRefused:
    with pytest.raises(FileRefused) as raised:
        pairs_and_report(in_pieces(data, piece), Reading())
    return raised.value


def test_a_good_file() -> None:
    found = report(HEADER + b"What is AI?,A field.\nWhy?,Because.\n")
    assert found.columns == ["input", "output"]
    assert found.head[0] == {"input": "What is AI?", "output": "A field."}
    assert (found.rows, found.usable, found.findings) == (2, 2, [])


def test_the_preview_has_five_rows_and_the_counts_the_whole_file() -> None:
    found = report(HEADER + b"".join(b"q%d,a\n" % n for n in range(1000)))
    assert len(found.head) == 5
    assert found.rows == 1000


@pytest.mark.parametrize("size", [1, 2, 3, 7, 4096])
def test_a_byte_order_mark_and_carriage_returns_are_no_part_of_the_content(size: int) -> None:
    data = b"\xef\xbb\xbfinput,output\r\n\xc3\xa4,b\r\nc,d"
    pairs, _ = pairs_and_report(in_pieces(data, size), Reading())
    assert pairs == [("ä", "b"), ("c", "d")]


def test_line_breaks_in_quotes_do_not_shift_row_numbers() -> None:
    found = report(HEADER + b'"a\nb\r\nc",1\n"d ""quoted""",2\nx,\n')
    assert found.head[0]["input"] == "a\nb\r\nc"
    assert found.head[1]["input"] == 'd "quoted"'
    assert found.findings == ["Row 4: 'output' is empty; the row is left out of training."]


def test_blank_lines_are_counted_as_rows_and_left_out() -> None:
    found = report(HEADER + b"a,b\n\n,c\n")
    assert found.rows == 2
    assert found.findings == ["Row 4: 'input' is empty; the row is left out of training."]


def test_rows_of_another_length_are_found_and_left_out() -> None:
    data = HEADER + b"a,b\nc\nd,e,f\n"
    pairs, found = pairs_and_report(in_pieces(data), Reading())
    assert pairs == [("a", "b")]
    assert [finding[:14] for finding in found.findings] == ["Row 3: 1 cells", "Row 4: 3 cells"]


def test_repeated_rows_name_the_first() -> None:
    found = report(HEADER + b"a,b\nc,d\na,b\nc,d\na,b\n")
    assert found.findings == [
        "Row 4: the same input and output as row 2.",
        "Row 5: the same input and output as row 3.",
        "Row 6: the same input and output as row 2.",
    ]
    assert found.usable == 5


def test_input_and_output_do_not_run_into_each_other_when_rows_are_compared() -> None:
    assert report(HEADER + b"ab,c\na,bc\n").findings == []


def test_a_header_with_white_space_serves_and_is_told() -> None:
    found = report(b" input ,output,\na,b,c\n")
    assert found.columns == ["input", "output", ""]
    assert found.findings == [
        "Row 1: white space around the column name 'input' is ignored.",
        "Row 1: column 3 has no name.",
    ]


def test_an_empty_cell_of_another_column_costs_no_row() -> None:
    found = report(b"input,output,note\na,b,\n")
    assert found.usable == 1
    assert found.findings == ["Row 2: 'note' is empty."]


def test_a_hundred_findings_are_listed_and_the_rest_counted() -> None:
    found = report(HEADER + b"a,b\n" + b"x,\n" * 250 + b"a,b\n" * 3)
    assert len(found.findings) == 101
    assert found.findings[-1] == "... and 153 more findings like these."


def test_a_missing_column_has_the_documented_sentence_and_what_mapping_needs() -> None:
    refused = refusal(b"question,output\n1,a\n2,b\n3,c\n4,d\n")
    assert refused.reason == "Failed to parse CSV file: Missing required 'input' column"
    assert refused.columns == ["question", "output"]
    assert [row["question"] for row in refused.head] == ["1", "2", "3"]


def test_both_columns_missing() -> None:
    assert "Missing required 'input' and 'output' columns" in refusal(b"a,b\n1,2\n").reason


def test_mapped_columns() -> None:
    found = report(b"question,answer\n1,a\n", Mapping("question", "answer"))
    assert found.usable == 1


def test_a_required_column_that_is_there_twice_is_refused() -> None:
    assert "'input' is there more than once" in refusal(b"input,input,output\na,b,c\n").reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "The file is empty"),
        (b"\xef\xbb\xbf", "The file is empty"),
        (b"\n\r\n", "The file is empty"),
        (HEADER, "a header and no rows"),
        (HEADER + b",\n,\n", "No row has both"),
        (HEADER + b"caf\xe9,b\n", "Row 2 is not UTF-8: byte 0xe9 at byte 16 of the file"),
        (b"\xef\xbb\xbf" + HEADER + b"caf\xe9,b\n", "byte 0xe9 at byte 19 of the file"),
        (HEADER + b"\xed\xa0\x80,b\n", "byte 0xed at byte 13"),
        ("input,output\na,b\n".encode("utf-16"), "UTF-16"),
        (HEADER + b"a,b\nc\0,d\n", "Row 3 has a NUL byte, at byte 18"),
        (
            HEADER + b'a,b\nc,"d\ne,f\n',
            'Row 3 has a quote (") that is never closed; the row starts on line 3',
        ),
        (HEADER + b'a,b\nc,"x\ny\nz', "the row starts on line 3"),
        (HEADER + b'a,b\nc,"x\ny\nz\n', "the row starts on line 3"),
        (HEADER + b'a,b\nc,"x', "the row starts on line 3"),
        (b"input,output\ra,b\r", "a carriage return stands alone"),
        (b"input,output" + b",a" * (MAX_COLUMNS - 1) + b"\n", f"{MAX_COLUMNS + 1} columns"),
        (
            HEADER + b"a," + b"x" * (MAX_ROW_CHARACTERS + 1) + b"\n",
            "Row 2 has more than 1,048,576 characters",
        ),
        (HEADER + b"x" * (3 * MAX_ROW_CHARACTERS), "Row 2 has more than 1,048,576 characters"),
        (
            HEADER + b'a,"' + b"x,y\n" * MAX_ROW_CHARACTERS,
            "starts on line 2, where a quote may not be closed",
        ),
        (b"," * (2 * MAX_ROW_CHARACTERS), "Row 1 has more than 1,048,576 characters"),
    ],
)
def test_what_is_no_csv_is_refused_with_the_place(data: bytes, reason: str) -> None:
    refused = refusal(data)
    assert refused.reason.startswith("Failed to parse CSV file: ")
    assert reason in refused.reason


@pytest.mark.parametrize(
    ("form", "header", "row"),
    [(FileFormat.CSV, HEADER, b"a,b\n"), (FileFormat.JSONL, b"", b'{"input": "a", "output": "b"}\n')],
)
def test_the_limit_of_rows_counts_no_header(
    monkeypatch: pytest.MonkeyPatch, form: FileFormat, header: bytes, row: bytes
) -> None:
    monkeypatch.setattr("tunedeck_catalog.record_reader.MAX_ROWS", 3)
    reading = Reading(format=form)
    assert pairs_and_report(in_pieces(header + 3 * row), reading)[1].rows == 3
    with pytest.raises(FileRefused, match="more than 3 rows, which is the limit"):
        pairs_and_report(in_pieces(header + 4 * row), reading)


def test_a_cell_larger_than_the_csv_modules_default_is_fine() -> None:
    cell = b"x" * 900_000
    _, found = pairs_and_report(in_pieces(HEADER + b"a," + cell + b"\n", 64 * 1024), Reading())
    assert found.usable == 1
    assert len(found.head[0]["output"]) < 11_000


def test_a_refusal_late_in_the_file_still_shows_its_head() -> None:
    refused = refusal(HEADER + b"a,b\n" * 10 + b"\xff,b\n")
    assert "Row 12" in refused.reason
    assert refused.head == [{"input": "a", "output": "b"}] * 3
