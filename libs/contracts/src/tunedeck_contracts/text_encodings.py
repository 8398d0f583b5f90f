"""The text encodings that an uploaded file may be in."""

import codecs
from typing import Annotated

from pydantic import AfterValidator, Field

UTF_8 = "utf-8"

ENCODINGS = (
    *(UTF_8, "utf-16", "utf-16-le", "utf-16-be", "ascii", "latin-1", "mac-roman", "koi8-r", "koi8-u"),
    *(f"iso-8859-{part}" for part in (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16)),
    *("cp437", "cp850", "cp852", "cp866"),
    *(f"cp{page}" for page in range(1250, 1259)),
    *("shift-jis", "cp932", "euc-jp", "gbk", "gb18030", "big5", "euc-kr", "cp949"),
)

_BY_CODEC = {codecs.lookup(name).name: name for name in ENCODINGS} | {"utf-8-sig": UTF_8}


def _checked(value: str) -> str:
    try:
        known = _BY_CODEC.get(codecs.lookup(value).name)
    except (LookupError, ValueError):
        known = None
    if known is None:
        raise ValueError(f"{value!r} is no text encoding that is taken; these are: {', '.join(ENCODINGS)}")
    return known


Encoding = Annotated[
    str,
    Field(
        max_length=40,
        description="The file's text encoding, read strictly: " + ", ".join(ENCODINGS) + ", or an alias.",
        examples=["latin-1"],
    ),
    AfterValidator(_checked),
]
"""A name of ENCODINGS; what Python knows as an alias of one ('latin1', 'windows-1252') becomes it."""
