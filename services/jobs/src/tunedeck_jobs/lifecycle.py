"""The states of a job as data, and the only names of what may happen to it.

Terminal states have no way to another state, so they absorb. Every change
goes through `JobRepository.apply`, which compares the state and the guards and
sets what follows in one write; no other code changes a state.
"""

from dataclasses import dataclass
from enum import StrEnum

from tunedeck_contracts.estimates import BatchSplit
from tunedeck_contracts.events import JobEventType
from tunedeck_contracts.jobs import CURRENT, PAST, Device, Status


class Change(StrEnum):
    """What may happen to a job."""

    CREATE = "create"
    QUEUE = "queue"
    CLAIM = "claim"
    FALL_BACK = "fall_back"
    ADJUST = "adjust"
    CHECKPOINT = "checkpoint"
    WANT_PAUSE = "want_pause"
    WITHDRAW_PAUSE = "withdraw_pause"
    WANT_CANCEL = "want_cancel"
    PAUSE = "pause"
    RESUME = "resume"
    YIELD = "yield"
    REQUEUE = "requeue"
    GIVE_UP = "give_up"
    CANCEL_WAITING = "cancel_waiting"
    CANCEL_RUNNING = "cancel_running"
    COMPLETE = "complete"
    FAIL = "fail"
    EXPIRE = "expire"
    RESCHEDULE = "reschedule"
    DELETE = "delete"


class By(StrEnum):
    """Who brings a change about."""

    PERSON = "a person"
    TRAINER = "the trainer that has the job"
    CLOCK = "the sweep, or a trainer that gives its job back"


class Guard(StrEnum):
    """What else must hold when the change is made."""

    FENCE = "the run has the job's fence"
    LEASE_OVER = "the run's lease ran out"
    WANTS_RUN = "a person wants it to run"
    WANTS_PAUSE = "a person wants it paused"
    WANTS_CANCEL = "a person wants it cancelled"
    NOT_CANCELLED = "nobody wants it cancelled"
    DEVICE = "the trainer has the device that the job asks for"
    RESTED = "its rest after it was lost is over"
    IN_TIME = "its deadline is not over"
    OVERDUE = "its deadline is over"
    ATTEMPTS_LEFT = "it may be lost once more before a newer checkpoint"
    NO_ATTEMPT_LEFT = "it was lost as often as it may be without a newer checkpoint"
    EARLIER = "the run goes on from an earlier checkpoint than its start has told"
    COARSER = "its batches are split as they were asked for, or less finely than the run's"
    UNCHANGED = "nothing has happened since it was read"


class Reached(StrEnum):
    """Where a change leads that leads to no other state."""

    SAME = "the state it was in"
    GONE = "none: what is left of it keeps its last state and takes no change any more"


@dataclass(frozen=True)
class Rule:
    """From which states a change is legal, to which it leads, by whom, what must hold, and what tells it."""

    sources: frozenset[Status]
    target: Status | Reached
    by: By
    event: JobEventType
    guards: frozenset[Guard]


def _rule(
    sources: set[Status], target: Status | Reached, by: By, event: JobEventType, *guards: Guard
) -> Rule:
    return Rule(frozenset(sources), target, by, event, frozenset(guards))


_CREATED, _QUEUED, _RUNNING, _PAUSED = Status.CREATED, Status.QUEUED, Status.RUNNING, Status.PAUSED
_FAILED, _CANCELLED, _SAME = Status.FAILED, Status.CANCELLED, Reached.SAME
_PERSON, _TRAINER, _CLOCK = By.PERSON, By.TRAINER, By.CLOCK
_E, _G = JobEventType, Guard

# fmt: off
RULES: dict[Change, Rule] = {
    Change.CREATE: _rule(set(), _CREATED, _PERSON, _E.CREATED),
    Change.QUEUE: _rule({_CREATED}, _QUEUED, _PERSON, _E.QUEUED, _G.IN_TIME),
    Change.CLAIM: _rule({_QUEUED}, _RUNNING, _TRAINER, _E.STARTED, _G.DEVICE, _G.IN_TIME, _G.RESTED),
    Change.FALL_BACK: _rule({_RUNNING}, _SAME, _TRAINER, _E.FELL_BACK, _G.FENCE, _G.EARLIER),
    Change.ADJUST: _rule({_RUNNING}, _SAME, _TRAINER, _E.ADJUSTED, _G.FENCE, _G.COARSER),
    Change.CHECKPOINT: _rule({_RUNNING}, _SAME, _TRAINER, _E.CHECKPOINTED, _G.FENCE, _G.UNCHANGED),
    Change.WANT_PAUSE: _rule({_RUNNING}, _SAME, _PERSON, _E.PAUSE_REQUESTED, _G.WANTS_RUN),
    Change.WITHDRAW_PAUSE: _rule({_RUNNING}, _SAME, _PERSON, _E.PAUSE_WITHDRAWN, _G.WANTS_PAUSE),
    Change.WANT_CANCEL: _rule({_RUNNING}, _SAME, _PERSON, _E.CANCEL_REQUESTED, _G.NOT_CANCELLED),
    Change.PAUSE: _rule({_RUNNING}, _PAUSED, _TRAINER, _E.PAUSED, _G.FENCE, _G.WANTS_PAUSE),
    Change.RESUME: _rule({_PAUSED}, _QUEUED, _PERSON, _E.RESUMED, _G.IN_TIME),
    Change.YIELD: _rule({_RUNNING}, _QUEUED, _TRAINER, _E.REQUEUED, _G.FENCE, _G.WANTS_RUN),
    Change.REQUEUE: _rule({_RUNNING}, _QUEUED, _CLOCK, _E.REQUEUED, _G.FENCE, _G.WANTS_RUN, _G.ATTEMPTS_LEFT),
    Change.GIVE_UP: _rule({_RUNNING}, _FAILED, _CLOCK, _E.FAILED, _G.FENCE, _G.WANTS_RUN, _G.NO_ATTEMPT_LEFT),
    Change.CANCEL_WAITING: _rule({_CREATED, _QUEUED, _PAUSED}, _CANCELLED, _PERSON, _E.CANCELLED),
    Change.CANCEL_RUNNING: _rule({_RUNNING}, _CANCELLED, _TRAINER, _E.CANCELLED, _G.FENCE, _G.WANTS_CANCEL),
    Change.COMPLETE: _rule({_RUNNING}, Status.COMPLETED, _TRAINER, _E.COMPLETED, _G.FENCE, _G.NOT_CANCELLED),
    Change.FAIL: _rule({_RUNNING}, _FAILED, _TRAINER, _E.FAILED, _G.FENCE, _G.NOT_CANCELLED),
    Change.EXPIRE: _rule(set(CURRENT), _FAILED, _CLOCK, _E.FAILED, _G.OVERDUE, _G.NOT_CANCELLED),
    Change.RESCHEDULE: _rule(set(CURRENT), _SAME, _PERSON, _E.RESCHEDULED),
    Change.DELETE: _rule({_CREATED, _PAUSED, *PAST}, Reached.GONE, _PERSON, _E.DELETED),
}
# fmt: on


@dataclass(frozen=True)
class Facts:
    """What the guards compare with; a guard refuses to go without its fact."""

    fence: int | None = None
    devices: frozenset[Device] | None = None
    most_lost: int | None = None
    resume_iteration: int | None = None
    split: BatchSplit | None = None
    rev: int | None = None


def allowed(change: Change, status: Status) -> bool:
    """Whether the change is legal from the state."""
    return status in RULES[change].sources
