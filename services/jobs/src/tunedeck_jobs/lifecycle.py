"""The states of a job as data, and the only names of what may happen to it.

design.md's table: terminal states have no way out, so they absorb. Every
change goes through `repository.Jobs.apply`, which compares the state it
expects and sets the next in one write.
"""

from dataclasses import dataclass
from enum import StrEnum

from tunedeck_contracts.events import JobEventType
from tunedeck_contracts.jobs import Status


class Change(StrEnum):
    """What may happen to a job."""

    CREATE = "create"
    QUEUE = "queue"
    CLAIM = "claim"
    REQUEUE = "requeue"
    WANT_CANCEL = "want_cancel"
    CANCEL_WAITING = "cancel_waiting"
    COMPLETE = "complete"
    FAIL = "fail"
    CANCEL_RUNNING = "cancel_running"


@dataclass(frozen=True)
class Rule:
    """From which states a change is legal, to which it leads, and the event that tells it."""

    sources: frozenset[Status]
    target: Status
    event: JobEventType


def _rule(sources: set[Status], target: Status, event: JobEventType) -> Rule:
    return Rule(frozenset(sources), target, event)


RULES: dict[Change, Rule] = {
    Change.CREATE: _rule(set(), Status.CREATED, JobEventType.CREATED),
    Change.QUEUE: _rule({Status.CREATED}, Status.QUEUED, JobEventType.QUEUED),
    Change.CLAIM: _rule({Status.QUEUED}, Status.RUNNING, JobEventType.STARTED),
    Change.REQUEUE: _rule({Status.RUNNING}, Status.QUEUED, JobEventType.REQUEUED),
    Change.WANT_CANCEL: _rule({Status.RUNNING}, Status.RUNNING, JobEventType.CANCEL_REQUESTED),
    Change.CANCEL_WAITING: _rule({Status.CREATED, Status.QUEUED}, Status.CANCELLED, JobEventType.CANCELLED),
    Change.COMPLETE: _rule({Status.RUNNING}, Status.COMPLETED, JobEventType.COMPLETED),
    Change.FAIL: _rule({Status.RUNNING}, Status.FAILED, JobEventType.FAILED),
    Change.CANCEL_RUNNING: _rule({Status.RUNNING}, Status.CANCELLED, JobEventType.CANCELLED),
}


def allowed(change: Change, status: Status) -> bool:
    """Whether the change is legal from the state."""
    return status in RULES[change].sources
