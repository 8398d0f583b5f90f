"""Bytes to text, strictly, with the byte offset of what is no text."""

import codecs

from tunedeck_contracts.text_encodings import UTF_8

BYTE_ORDER_MARK = "\ufeff"
_LONGEST_MARK = 3
_BIG_ENDIAN_MARK = b"\xfe\xff"
_UTF_16_MARKS = (b"\xff\xfe", _BIG_ENDIAN_MARK)


class NotText(Exception):
    """Bytes that are no text in the encoding; the message says what, with its byte offset in the file.

    `before` is the text of this call that comes before them.
    """

    def __init__(self, what: str, before: str) -> None:
        super().__init__(what)
        self.before = before


class Decoder:
    """Decodes a file piece by piece. A byte order mark is dropped; a NUL is no text in any encoding."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._codec: codecs.IncrementalDecoder | None = None
        self._name = encoding
        self._head = b""
        self._fed = 0

    def feed(self, data: bytes, *, final: bool = False) -> str:
        """The text of these bytes, as far as they are whole characters.

        Raises:
            NotText: they are not; nothing can be fed after that.
        """
        if self._codec is not None:
            return self._decoded(self._codec, data, final)
        self._head += data
        if len(self._head) < _LONGEST_MARK and not final:
            return ""
        self._codec = self._opened(self._head)
        return self._decoded(self._codec, self._head, final)

    def _opened(self, head: bytes) -> codecs.IncrementalDecoder:
        if self._encoding == UTF_8 and head.startswith(_UTF_16_MARKS):
            raise NotText("is in UTF-16; save it as UTF-8, or say encoding=utf-16", "")
        if self._encoding == "utf-16":
            # One byte order from the start on, so that every piece can be decoded by itself.
            self._name = "utf-16-be" if head.startswith(_BIG_ENDIAN_MARK) else "utf-16-le"
        return codecs.getincrementaldecoder(self._name)()

    def _decoded(self, codec: codecs.IncrementalDecoder, data: bytes, final: bool) -> str:
        start = self._fed - len(codec.getstate()[0])
        try:
            text = codec.decode(data, final)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(self._name)
            self._refuse_nul(before, data, start)
            raise NotText(self._wrong_byte(error, start + error.start), _unmarked(before, start)) from None
        self._refuse_nul(text, data, start)
        self._fed += len(data)
        return _unmarked(text, start)

    def _wrong_byte(self, error: UnicodeDecodeError, offset: int) -> str:
        hint = "; save it as UTF-8, or say its encoding" if self._encoding == UTF_8 else ""
        byte = error.object[error.start]
        return f"is not {self._encoding.upper()}: byte 0x{byte:02x} at byte {offset} of the file{hint}"

    def _refuse_nul(self, text: str, data: bytes, start: int) -> None:
        at = text.find("\0")
        if at < 0:
            return
        # Everywhere but in UTF-16 the byte 0 is always the character.
        is_wide = self._name.startswith("utf-16")
        offset = start + len(text[:at].encode(self._name)) if is_wide else self._fed + data.index(b"\0")
        raise NotText(f"has a NUL byte, at byte {offset} of the file", _unmarked(text[:at], start))


def _unmarked(text: str, start: int) -> str:
    return text.removeprefix(BYTE_ORDER_MARK) if start == 0 else text
