"""A streaming multipart reader: the file's bytes pass through while they arrive.

FastAPI's `UploadFile` spools everything before the handler runs, so it could
not refuse a file early.
"""

from collections import deque
from collections.abc import AsyncIterator

from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from tunedeck_contracts.errors import BadRequest, PayloadTooLarge, UnsupportedMediaType

_LONGEST_FIELD = 10_000
_MOST_FIELDS = 20
_AROUND_THE_FILE = 1024 * 1024
"""Bytes of a body that are not the file's: headers, fields, and what may follow the end."""


class FileUpload:
    """One `multipart/form-data` body with one file in the part `file`, and small text fields.

    `filename` is known with the first of the `chunks()`, and so are the fields before the file; those
    after it at the end.
    """

    def __init__(self, request: Request, limit: int) -> None:
        self._request = request
        self._limit = limit
        self._size = 0
        self._ready: deque[bytes] = deque()
        self._header = b""
        self._headers: dict[bytes, bytes] = {}
        self._header_name = b""
        self._part = ""
        self._is_file = False
        self._has_ended = False
        self._number_of_fields = 0
        self.found_file = False
        self.filename = ""
        self._fields: dict[str, list[bytes]] = {}
        self._parser = MultipartParser(
            _boundary(request),
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_end": self._on_end,
            },
        )

    async def chunks(self) -> AsyncIterator[bytes]:
        """The file's bytes.

        Raises:
            PayloadTooLarge: as soon as the file is larger than the limit; the rest is not read.
            BadRequest: the body is not multipart, or has no part `file`.
        """
        arrived = 0
        async for received in self._request.stream():
            arrived += len(received)
            if arrived > self._limit + _AROUND_THE_FILE:
                raise self._too_large()
            try:
                self._parser.write(received)
            except MultipartParseError as error:
                raise BadRequest(f"The multipart body cannot be read: {error}.") from error
            while self._ready:
                yield self._ready.popleft()
        if not self._has_ended:
            raise BadRequest("The upload broke off before its end; send it again.")
        if not self.found_file:
            raise BadRequest("The request has no file: send it as the multipart part `file`.")

    def form(self) -> dict[str, str]:
        """The text fields that have arrived; of a name that came twice, both, with a comma between."""
        return {name: b",".join(parts).decode("utf-8", "replace") for name, parts in self._fields.items()}

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"File size exceeds maximum allowed size of {self._limit} bytes")

    def _on_part_begin(self) -> None:
        self._headers = {}

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header
        self._header_name = self._header = b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._part = options.get(b"name", b"").decode("utf-8", "replace")
        self._is_file = self._part == "file" and b"filename" in options
        if self._is_file:
            if self.found_file:
                raise BadRequest("The request has more than one file; send one.")
            self.found_file = True
            self.filename = _display_name(options[b"filename"])
            return
        self._number_of_fields += 1
        if self._number_of_fields > _MOST_FIELDS:
            raise BadRequest(f"The form has more than {_MOST_FIELDS} fields.")
        self._fields.setdefault(self._part, []).append(b"")

    def _on_end(self) -> None:
        self._has_ended = True

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if not self._is_file:
            self._add_to_field(data[start:end])
            return
        self._size += end - start
        if self._size > self._limit:
            raise self._too_large()
        self._ready.append(data[start:end])

    def _add_to_field(self, data: bytes) -> None:
        parts = self._fields[self._part]
        parts[-1] += data
        if len(parts[-1]) > _LONGEST_FIELD:
            raise BadRequest(f"The field {self._part!r} has more than {_LONGEST_FIELD:,} bytes.")


def _boundary(request: Request) -> bytes:
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMediaType("A compressed body is not taken; send the file as it is.")
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise UnsupportedMediaType("Send the file as multipart/form-data, in the part `file`.")
    return options[b"boundary"]


def _display_name(raw: bytes) -> str:
    name = raw.decode("utf-8", "replace").replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(letter for letter in name if letter.isprintable())
    return kept[:255] or "upload.csv"
