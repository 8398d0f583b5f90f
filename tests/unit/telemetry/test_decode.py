"""A message of the stream TRAINING is what its subject says, or is refused."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from tunedeck_contracts import subjects
from tunedeck_contracts.message import utc_now
from tunedeck_contracts.subjects import TrainingKind
from tunedeck_contracts.training import LogLine, LogRecorded
from tunedeck_telemetry.ingest import decode

LOG = subjects.training_event(TrainingKind.LOG, "job_1")


def test_a_log_line_is_decoded() -> None:
    line = LogLine(number=1, level="info", text="x", timestamp=utc_now())
    recorded = LogRecorded(job_id="job_1", fence=1, line=line)
    assert decode(LOG, recorded.to_json()) == recorded


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"null", b"{}", b'{"job_id": "job_1"}'])
def test_what_is_malformed_is_refused(data: bytes) -> None:
    with pytest.raises(ValidationError):
        decode(LOG, data)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="weather"):
        decode(LOG.replace("log", "weather"), b"{}")


@pytest.mark.parametrize(
    "change",
    [{"fence": 2**63}, {"line": {"number": -(2**64)}}, {"line": {"text": "x" * 200_000}}],
    ids=["fence", "number", "size"],
)
def test_what_no_document_can_hold_is_refused(change: dict[str, Any]) -> None:
    line = {
        "number": 1,
        "level": "info",
        "text": "x",
        "timestamp": "2026-01-02T00:00:00Z",
        **change.get("line", {}),
    }
    message = {"job_id": "job_1", "fence": 1, **change, "line": line}
    with pytest.raises(ValueError, match="cannot be stored"):
        decode(LOG, json.dumps(message).encode())
