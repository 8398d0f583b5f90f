"""Files in other encodings: read strictly, with the place of what is wrong."""

import pytest
from pydantic import TypeAdapter, ValidationError

from tests.support.file_checks import in_pieces, pairs_and_report
from tunedeck_catalog.file_check import FileRefused
from tunedeck_catalog.reading import Reading
from tunedeck_contracts.text_encodings import ENCODINGS, Encoding

TEXT = "input,output\nWie spät?,Später\n"
MARKED_UTF_16 = b"\xff\xfe" + TEXT.encode("utf-16-le")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (TEXT.encode("latin-1"), "latin-1"),
        (TEXT.encode("cp1252"), "cp1252"),
        (MARKED_UTF_16, "utf-16"),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), "utf-16"),
        (TEXT.encode("utf-16-le"), "utf-16"),
        (MARKED_UTF_16, "utf-16-le"),
        (TEXT.encode("utf-8-sig"), "utf-8"),
        (TEXT.encode("gb18030"), "gb18030"),
    ],
)
def test_the_text_is_the_same_in_every_encoding(data: bytes, encoding: str, size: int) -> None:
    pairs, report = pairs_and_report(in_pieces(data, size), Reading(encoding=encoding))
    assert pairs == [("Wie spät?", "Später")]
    assert report.columns == ["input", "output"]


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("data", "encoding", "reason"),
    [
        (TEXT.encode("latin-1"), "utf-8", "Row 2 is not UTF-8: byte 0xe4 at byte 19 of the file"),
        (b"input,output\na,\x81\n", "cp1252", "Row 2 is not CP1252: byte 0x81 at byte 15 of the file"),
        (TEXT.encode(), "ascii", "Row 2 is not ASCII: byte 0xc3 at byte 19"),
        (MARKED_UTF_16, "utf-8", "Row 1 is in UTF-16; save it as UTF-8, or say encoding=utf-16"),
        (MARKED_UTF_16[:-1], "utf-16", "Row 2 is not UTF-16: byte 0x0a at byte 60"),
        ("input,output\nä\0".encode("utf-16"), "utf-16", "Row 2 has a NUL byte, at byte 30 of the file"),
        ("input,output\nä\0".encode(), "utf-8", "Row 2 has a NUL byte, at byte 15 of the file"),
        ("input,output\n中\0".encode("gbk"), "gbk", "Row 2 has a NUL byte, at byte 15 of the file"),
    ],
)
def test_what_is_no_text_is_told_with_its_place(data: bytes, encoding: str, reason: str, size: int) -> None:
    with pytest.raises(FileRefused) as raised:
        pairs_and_report(in_pieces(data, size), Reading(encoding=encoding))
    assert reason in raised.value.reason


@pytest.mark.parametrize(
    ("said", "taken"),
    [("latin1", "latin-1"), ("ISO-8859-1", "latin-1"), ("windows-1252", "cp1252"), ("UTF8", "utf-8")],
)
def test_an_alias_becomes_the_name_that_is_listed(said: str, taken: str) -> None:
    assert TypeAdapter(Encoding).validate_python(said) == taken


@pytest.mark.parametrize("said", ["rot13", "base64", "idna", "unicode_escape", "klingon", "", "a\0b", "ä"])
def test_what_is_no_text_encoding_is_refused_with_the_list(said: str) -> None:
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(Encoding).validate_python(said)
    assert ", ".join(ENCODINGS) in str(raised.value)
