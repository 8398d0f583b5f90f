"""What must hold of a job that was to train to its end, whatever happened meanwhile."""

from collections.abc import Sequence
from typing import Any

from tests.chaos import reading, verdicts
from tests.chaos.client import PatientClient
from tunedeck_contracts.events import JobEvent


def training_verdicts(
    client: PatientClient, job: dict[str, Any], events: Sequence[JobEvent], reference: Sequence[float]
) -> list[str]:
    """It completed, each point is there once and as it is in an undisturbed job, and its files are whole."""
    uid, last = job["uid"], job["training"]["currentStep"]
    if job["status"] != "completed":
        return [f"{uid} is {job['status']}: {job['failure']}", *event_verdicts(job, events)]
    points = reading.points(client, uid, last)
    return [
        *event_verdicts(job, events),
        *verdicts.wrong_points(uid, [one["iteration"] for one in points], last),
        *verdicts.different_losses(uid, [one["train_loss"] for one in points], reference),
        *reading.broken_artifacts(client, job),
    ]


def event_verdicts(job: dict[str, Any], events: Sequence[JobEvent]) -> list[str]:
    """Its changes are legal and without a hole, and told is what it is."""
    return [
        *verdicts.broken_chain(events),
        *verdicts.sinking_fences(events),
        *verdicts.unequal_state(job["uid"], job, events),
    ]
