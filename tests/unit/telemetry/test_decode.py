"""A message of the stream TRAINING is what its subject says, or is refused."""

import pytest

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
    with pytest.raises(ValueError, match="."):
        decode(LOG, data)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="weather"):
        decode(LOG.replace("log", "weather"), b"{}")
