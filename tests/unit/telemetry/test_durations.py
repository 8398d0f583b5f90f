"""api.md's three forms of a duration."""

import pytest

from tunedeck_telemetry import durations


@pytest.mark.parametrize(
    ("seconds", "spoken", "clock"),
    [
        (0, "0s", "0:00:00"),
        (59.9, "59s", "0:00:59"),
        (1935, "32m 15s", "0:32:15"),
        (5025, "1h 23m 45s", "1:23:45"),
        (3600, "1h 0m 0s", "1:00:00"),
        (100 * 3600, "100h 0m 0s", "100:00:00"),
        (-5, "0s", "0:00:00"),
    ],
)
def test_a_duration_is_written_as_api_md_writes_it(seconds: float, spoken: str, clock: str) -> None:
    assert (durations.spoken(seconds), durations.clock(seconds)) == (spoken, clock)


def test_an_estimate_is_marked_as_one_and_may_be_unknown() -> None:
    assert [durations.estimate(one) for one in (1935, 0.0, None)] == ["~32m 15s", "~0s", "unknown"]
