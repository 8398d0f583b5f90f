"""The time that a job will still take."""

from datetime import UTC, datetime, timedelta

import pytest

from tunedeck_contracts.jobs import PAST, Status
from tunedeck_contracts.training import LossPoint
from tunedeck_telemetry.projection import KnownJob, Totals
from tunedeck_telemetry.summaries import elapsed_seconds, remaining_seconds

START = datetime(2026, 1, 2, tzinfo=UTC)


def job(status: Status = Status.RUNNING, **more: object) -> KnownJob:
    fields: dict[str, object] = {
        "uid": "job_1",
        "rev": 3,
        "status": status,
        "training_mode": "manual",
        "fence": 1,
        "total_epochs": 1,
        "started_at": START,
        "ended_at": None,
        "last_iteration": None,
        "tenures": (),
        "totals": Totals(points=10, steps=10, epochs=1),
    }
    return KnownJob(**{**fields, **more})  # type: ignore[arg-type]


def points(count: int, seconds: float) -> list[LossPoint]:
    return [
        LossPoint(
            iteration=n,
            epoch=1,
            step=n,
            train_loss=1.0,
            validation_loss=1.0,
            learning_rate=0.1,
            batch_size=8,
            timestamp=START + timedelta(seconds=seconds * n),
        )
        for n in range(1, count + 1)
    ]


def test_the_steps_left_take_as_long_as_the_newest_did() -> None:
    assert remaining_seconds(job(), points(4, 2.0)) == 12.0


def test_nothing_can_be_said_before_a_step_or_while_the_job_waits() -> None:
    assert remaining_seconds(job(), []) is None
    for waiting in (Status.QUEUED, Status.PAUSED):
        assert remaining_seconds(job(waiting), points(4, 2.0)) is None


@pytest.mark.parametrize("status", PAST)
def test_what_has_ended_takes_no_more_time(status: Status) -> None:
    assert remaining_seconds(job(status), []) == 0.0


def test_elapsed_ends_with_the_job_and_is_zero_before_it_starts() -> None:
    assert elapsed_seconds(job(ended_at=START + timedelta(seconds=90))) == 90.0
    assert elapsed_seconds(job(Status.QUEUED, started_at=None)) == 0.0
