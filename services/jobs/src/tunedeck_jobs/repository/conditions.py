"""The states and guards of the lifecycle's table as conditions of a query."""

from collections.abc import Callable
from typing import TypeVar

from tunedeck_chassis.mongo import Document
from tunedeck_contracts.jobs import Wanted
from tunedeck_jobs.lifecycle import RULES, Change, Facts, Guard

Given = TypeVar("Given")

LIVING: Document = {"deleted_at": None}
"""The part of a query that leaves tombstones out."""


def query(change: Change, facts: Facts, *also: Guard) -> Document:
    """Matches a job of which the change is legal, as its rule says; `also` are guards of this one call."""
    rule = RULES[change]
    sources = sorted(status.value for status in rule.sources)
    guards = [_CONDITIONS[guard](facts) for guard in sorted({*rule.guards, *also})]
    return {"$and": [{"status": {"$in": sources}}, LIVING, *guards]}


def in_time() -> Document:
    """The deadline is not over, by MongoDB's clock; also of a job without one."""
    return {"$or": [{"deadline": None}, {"$expr": {"$gt": ["$deadline", "$$NOW"]}}]}


def overdue() -> Document:
    """The deadline is over."""
    return {"deadline": {"$type": "date"}, "$expr": {"$lte": ["$deadline", "$$NOW"]}}


def rested() -> Document:
    """What the job died of may last: a job that was lost again and again rests before its next attempt."""
    return {"$or": [{"not_before": None}, {"$expr": {"$lte": ["$not_before", "$$NOW"]}}]}


def lease_over() -> Document:
    """The lease ran out, by MongoDB's clock."""
    return {"lease.until": {"$type": "date"}, "$expr": {"$lt": ["$lease.until", "$$NOW"]}}


def _given(value: Given | None, guard: Guard) -> Given:
    if value is None:
        raise AssertionError(f"the guard {guard.name} has nothing to compare with")
    return value


def _wants(*wanted: Wanted) -> Callable[[Facts], Document]:
    return lambda _: {"wanted": {"$in": [one.value for one in wanted]}}


def _fence(facts: Facts) -> Document:
    return {"fence": _given(facts.fence, Guard.FENCE)}


def _device(facts: Facts) -> Document:
    devices = _given(facts.devices, Guard.DEVICE)
    return {"device": {"$in": [None, *(one.value for one in devices)]}}


def _attempts_left(facts: Facts) -> Document:
    return {"lost": {"$lt": _given(facts.most_lost, Guard.ATTEMPTS_LEFT) - 1}}


def _no_attempt_left(facts: Facts) -> Document:
    return {"lost": {"$gte": _given(facts.most_lost, Guard.NO_ATTEMPT_LEFT) - 1}}


def _earlier(facts: Facts) -> Document:
    return {"resume_step": {"$gt": _given(facts.resume_iteration, Guard.EARLIER)}}


def _coarser(facts: Facts) -> Document:
    split = _given(facts.split, Guard.COARSER)
    size, again = "batch_split.micro_batch_size", "batch_split.gradient_checkpointing"
    coarser: list[Document] = [{"batch_split": None}, {size: {"$gt": split.micro_batch_size}}]
    if split.gradient_checkpointing:
        coarser.append({size: split.micro_batch_size, again: False})
    return {"$or": coarser}


def _unchanged(facts: Facts) -> Document:
    return {"rev": _given(facts.rev, Guard.UNCHANGED)}


_CONDITIONS: dict[Guard, Callable[[Facts], Document]] = {
    Guard.FENCE: _fence,
    Guard.LEASE_OVER: lambda _: lease_over(),
    Guard.WANTS_RUN: _wants(Wanted.RUN),
    Guard.WANTS_PAUSE: _wants(Wanted.PAUSE),
    Guard.WANTS_CANCEL: _wants(Wanted.CANCEL),
    Guard.NOT_CANCELLED: _wants(Wanted.RUN, Wanted.PAUSE),
    Guard.DEVICE: _device,
    Guard.RESTED: lambda _: rested(),
    Guard.IN_TIME: lambda _: in_time(),
    Guard.OVERDUE: lambda _: overdue(),
    Guard.ATTEMPTS_LEFT: _attempts_left,
    Guard.NO_ATTEMPT_LEFT: _no_attempt_left,
    Guard.EARLIER: _earlier,
    Guard.COARSER: _coarser,
    Guard.UNCHANGED: _unchanged,
}
