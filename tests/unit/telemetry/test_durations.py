"""Durations in api.md's three forms."""

import pytest

from tunedeck_telemetry import durations


@pytest.mark.parametrize(
    ("seconds", "spoken", "clock"),
    [
        (0, "0s", "0:00:00"),
        (59.9, "59s", "0:00:59"),
        (1935, "32m 15s", "0:32:15"),
        (5025, "1h 23m 45s", "1:23:45"),
    ],
)
def test_durations(seconds: float, spoken: str, clock: str) -> None:
    assert durations.spoken(seconds) == spoken
    assert durations.clock(seconds) == clock
    assert durations.estimate(seconds) == f"~{spoken}"


def test_what_cannot_be_estimated_is_unknown() -> None:
    assert durations.estimate(None) == "unknown"
