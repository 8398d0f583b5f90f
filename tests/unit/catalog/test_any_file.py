"""Whatever the bytes are, the check gives a report or a refusal; and it reads as the csv module does."""

import csv
import io

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.file_checks import in_pieces, pairs_and_report
from tests.support.generated_files import csv_texts, files, readings
from tunedeck_catalog.decoding import Decoder, NotText
from tunedeck_catalog.file_check import FileRefused, FileReport, Pair
from tunedeck_catalog.reading import Reading
from tunedeck_contracts.text_encodings import ENCODINGS

Outcome = tuple[list[Pair], FileReport] | str
MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


def outcome(data: bytes, reading: Reading, size: int) -> Outcome:
    """What the check says; of a refusal its sentence."""
    try:
        return pairs_and_report(in_pieces(data, size), reading)
    except FileRefused as error:
        refused = error
    assert refused.reason.startswith("Failed to parse ")
    assert len(refused.head) <= 3
    _assert_can_be_sent(refused.reason, *refused.columns)
    _assert_can_be_sent(*(text for row in refused.head for text in row.values()))
    return refused.reason


def _assert_can_be_sent(*texts: str) -> None:
    for text in texts:
        text.encode()


@settings(max_examples=10_000, suppress_health_check=list(HealthCheck))
@given(data=files, reading=readings)
def test_any_bytes_give_a_report_or_a_refusal(data: bytes, reading: Reading) -> None:
    found = outcome(data, reading, 64 * 1024)
    if isinstance(found, str):
        return
    pairs, report = found
    assert 0 < len(pairs) == report.usable <= report.rows
    assert all(prompt.strip() and answer.strip() for prompt, answer in pairs)
    assert len(report.findings) <= 101 and len(report.head) <= 5
    _assert_can_be_sent(*report.columns, *report.findings, *(text for pair in pairs for text in pair))
    _assert_can_be_sent(*(text for row in report.head for text in row.values()))


@settings(max_examples=1_000, suppress_health_check=list(HealthCheck))
@given(data=files, reading=readings, size=st.integers(1, 40))
def test_it_does_not_matter_how_a_file_is_cut(data: bytes, reading: Reading, size: int) -> None:
    cut = data[:4_000]
    assert outcome(cut, reading, size) == outcome(cut, reading, 64 * 1024)


@settings(max_examples=2_000)
@given(text=csv_texts, size=st.integers(1, 60))
@example(text='input,output\n"a\n\n",b\n\n"c""\r\n",d\r\n', size=5)
def test_a_good_csv_is_read_as_the_csv_module_reads_it(text: str, size: int) -> None:
    header, *records = csv.reader(io.StringIO(text, newline=""))
    assert header == ["input", "output"]
    rows = [record for record in records if record]
    usable = [(row[0], row[1]) for row in rows if row[0].strip() and row[1].strip()]
    found = outcome(text.encode(), Reading(), size)
    if not usable:
        assert isinstance(found, str) and "row" in found
        return
    assert not isinstance(found, str)
    assert found[0] == usable
    assert (found[1].rows, found[1].usable) == (len(rows), len(usable))


@settings(max_examples=2_000)
@given(
    data=st.builds(bytes.__add__, st.sampled_from([b"", *MARKS]), st.binary(max_size=60)),
    encoding=st.one_of(st.sampled_from(ENCODINGS), st.sampled_from(["utf-8", "utf-16"])),
    size=st.integers(1, 20),
)
def test_text_is_what_python_decodes_and_the_offset_that_of_its_error(
    data: bytes, encoding: str, size: int
) -> None:
    decoder = Decoder(encoding)
    text = ""
    problem = ""
    try:
        for piece in in_pieces(data, size):
            text += decoder.feed(piece)
        text += decoder.feed(b"", final=True)
    except NotText as error:
        text, problem = text + error.before, str(error)
    try:
        whole, wrong = data.decode(encoding), None
    except UnicodeDecodeError as error:
        whole, wrong = data[: error.start].decode(encoding), error.start
    if problem.startswith("is in UTF-16"):
        assert data[:2] in (b"\xff\xfe", b"\xfe\xff")
        return
    # The codec "utf-16" takes its mark away itself.
    expected = whole if encoding == "utf-16" else whole.removeprefix("\ufeff")
    if "\0" in expected:
        assert "NUL" in problem and text == expected.partition("\0")[0]
    elif wrong is None:
        assert (text, problem) == (expected, "")
    else:
        assert text == expected and f" at byte {wrong} of" in problem
