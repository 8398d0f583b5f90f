"""The streaming multipart reader: bytes pass through in any cut, and what is too large is refused early."""

from collections.abc import AsyncIterator, Sequence

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st

from tunedeck_contracts.errors import BadRequest, PayloadTooLarge, UnsupportedMediaType
from tunedeck_gateway.uploads import FileUpload

BOUNDARY = "frontier"
KIND = f"multipart/form-data; boundary={BOUNDARY}"


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
    return f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + content + b"\r\n"


def body(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def request(pieces: Sequence[bytes], kind: str = KIND, **headers: str) -> tuple[Request, list[int]]:
    """A request whose body arrives in these pieces, and a list that grows by each piece read."""
    read: list[int] = []

    async def receive() -> dict[str, object]:
        index = len(read)
        read.append(index)
        return {"type": "http.request", "body": pieces[index], "more_body": index + 1 < len(pieces)}

    given_headers = {"content-type": kind, **headers}
    raw = [(name.encode(), value.encode()) for name, value in given_headers.items()]
    return Request({"type": "http", "method": "POST", "headers": raw}, receive), read  # type: ignore[arg-type]


async def collected(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


@given(content=st.binary(max_size=400), cut=st.integers(1, 60))
async def test_the_file_arrives_whole_however_the_body_is_cut(content: bytes, cut: int) -> None:
    whole = body(part("input_column", b"question"), part("file", content, "rows.csv"), part("late", b"x"))
    pieces = [whole[start : start + cut] for start in range(0, len(whole), cut)]
    upload = FileUpload(request(pieces)[0], limit=10_000)
    assert await collected(upload.chunks()) == content
    assert upload.filename == "rows.csv"
    assert upload.form() == {"input_column": "question", "late": "x"}


async def test_what_follows_the_end_is_not_read_for_ever() -> None:
    pieces = [body(part("file", b"a,b", "small.csv")), *[b"x" * 1_000_000] * 50]
    asked, read = request(pieces)
    with pytest.raises(PayloadTooLarge):
        await collected(FileUpload(asked, limit=2500).chunks())
    assert len(read) == 3


async def test_a_file_over_the_limit_is_refused_before_the_rest_is_read() -> None:
    pieces = [part("file", b"", "big.csv")[:-2], *[b"x" * 1000] * 50]
    asked, read = request(pieces)
    with pytest.raises(PayloadTooLarge, match="maximum allowed size of 2500 bytes"):
        await collected(FileUpload(asked, limit=2500).chunks())
    assert len(read) == 4


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\data\\rows.csv", "rows.csv"),
        ("", "upload.csv"),
        ("a\u202eb.csv", "ab.csv"),
    ],
)
async def test_a_file_name_is_for_show_only(name: str, shown: str) -> None:
    disposition = f'form-data; name="file"; filename="{name}"'
    whole = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\nx\r\n".encode() + body()
    upload = FileUpload(request([whole])[0], limit=10)
    assert await collected(upload.chunks()) == b"x"
    assert upload.filename == shown


@pytest.mark.parametrize(
    ("pieces", "kind", "error"),
    [
        ([body(part("other", b"x"))], KIND, BadRequest),
        ([body(part("file", b"x", "a"), part("file", b"y", "b"))], KIND, BadRequest),
        ([b"not multipart at all"], KIND, BadRequest),
        ([b"{}"], "application/json", UnsupportedMediaType),
        ([b"x"], "multipart/form-data", UnsupportedMediaType),
    ],
)
async def test_what_is_no_upload_is_refused(pieces: list[bytes], kind: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await collected(FileUpload(request(pieces, kind)[0], limit=100).chunks())


async def test_a_compressed_body_is_not_taken() -> None:
    asked, _ = request([body(part("file", b"x", "a"))], **{"content-encoding": "gzip"})
    with pytest.raises(UnsupportedMediaType):
        FileUpload(asked, limit=100)
