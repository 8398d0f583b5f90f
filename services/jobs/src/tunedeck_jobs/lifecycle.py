"""The states of a job as data, and the only names of what may happen to it.

design.md's table: terminal states have no way to another state, so they
absorb. Every change goes through `JobRepository.apply`, which compares the
state it expects and sets the next in one write.
"""

from dataclasses import dataclass
from enum import StrEnum

from tunedeck_contracts.events import JobEventType
from tunedeck_contracts.jobs import PAST, Status


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
    DELETE = "delete"


@dataclass(frozen=True)
class Rule:
    """From which states a change is legal, to which it leads, and the event that tells it.

    Without a target the job is gone: what is left of it keeps its last state and takes no change any more.
    """

    sources: frozenset[Status]
    target: Status | None
    event: JobEventType


def _rule(sources: set[Status], target: Status | None, event: JobEventType) -> Rule:
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
    Change.DELETE: _rule({Status.CREATED, *PAST}, None, JobEventType.DELETED),
}


def allowed(change: Change, status: Status) -> bool:
    """Whether the change is legal from the state."""
    return status in RULES[change].sources
