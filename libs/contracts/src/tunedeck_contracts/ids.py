"""Ids as api.md shows them, made and checked.

An id that came in a path is checked here before it becomes part of a subject:
`>`, `*` and dots are wildcards and separators to NATS.
"""

import re
import secrets
import time
from datetime import datetime

from tunedeck_contracts.errors import NotFound

_SAFE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000


def new_job_uid() -> str:
    """`job_<milliseconds>_<8 hex digits>`."""
    return f"job_{_milliseconds()}_{secrets.token_hex(4)}"


def _new_base36_uid(noun: str) -> str:
    tail = "".join(secrets.choice(_BASE36) for _ in range(9))
    return f"{noun}_{_milliseconds()}_{tail}"


def new_dataset_uid() -> str:
    """`dataset_<milliseconds>_<9 base-36 digits>`."""
    return _new_base36_uid("dataset")


def new_upload_uid() -> str:
    """`upload_<milliseconds>_<9 base-36 digits>`."""
    return _new_base36_uid("upload")


def new_stream_id() -> str:
    """`generation_<milliseconds>_<16 hex digits>`."""
    return f"generation_{_milliseconds()}_{secrets.token_hex(8)}"


def new_session_id(created_at: datetime) -> str:
    """`session_<milliseconds>`, of the moment it was created."""
    return f"session_{round(created_at.timestamp() * 1000)}"


def is_safe_id(value: str) -> bool:
    """Whether the value can stand as one token of a NATS subject."""
    return _SAFE.fullmatch(value) is not None


def checked_id(noun: str, value: str) -> str:
    """Return `value`, or raise NotFound: no document can have such an id.

    `noun` names the thing in the sentence of the error ("job", "dataset").
    """
    if not is_safe_id(value):
        raise NotFound(f"There is no {noun} {value!r}: an id has only letters, digits, _ and -.")
    return value
