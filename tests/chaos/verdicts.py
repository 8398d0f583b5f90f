"""What must hold of a history. Each verdict is a list of sentences, empty where all is well.

They take what was read, so that a test can show them a broken history and see them say so.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.history import Acknowledged, Kind
from tunedeck_contracts.events import JobEvent, JobEventType
from tunedeck_contracts.jobs import PAST, Status
from tunedeck_jobs.lifecycle import RULES

Stored = Mapping[tuple[Kind, str], Mapping[str, Any]]
"""What is found under each kind and uid."""


def lost_writes(acknowledged: Sequence[Acknowledged], stored: Stored) -> list[str]:
    """Every acknowledged write is there, and holds what was acknowledged."""
    said = []
    for write in acknowledged:
        found = stored.get((write.kind, write.uid))
        if found is None:
            said.append(f"{write.kind} {write.uid} was acknowledged and is not there")
        elif wrong := {key: found.get(key) for key, value in write.holds.items() if found.get(key) != value}:
            said.append(f"{write.kind} {write.uid} was acknowledged with {write.holds} and has {wrong}")
    return said


def repeated_names(names: Sequence[str]) -> list[str]:
    """A request with a key makes one thing, however often it was sent."""
    return [f"{name!r} is there {count} times" for name, count in Counter(names).items() if count > 1]


def broken_chain(events: Sequence[JobEvent]) -> list[str]:
    """The revisions of one job count from 1 without a hole, each once, and its changes are legal ones."""
    uid = events[0].uid if events else "a job"
    revisions = [event.rev for event in events]
    said = []
    if sorted(revisions) != list(range(1, len(revisions) + 1)):
        said.append(f"{uid} has the revisions {revisions}")
    before: Status | None = None
    for event in sorted(events, key=lambda one: one.rev):
        if not _is_legal(before, event):
            said.append(f"{uid} went from {before} to {event.status} by {event.type}")
        before = event.status
    return said


def _is_legal(before: Status | None, event: JobEvent) -> bool:
    if event.type is JobEventType.CREATED:
        return before is None and event.status is Status.CREATED
    return any(
        before in rule.sources
        and event.status is (rule.target if isinstance(rule.target, Status) else before)
        for rule in RULES.values()
        if rule.event is event.type
    )


def sinking_fences(events: Sequence[JobEvent]) -> list[str]:
    """A fence never falls along the revisions, and each claim raises it."""
    said = []
    fence = 0
    for event in sorted(events, key=lambda one: one.rev):
        is_claim = event.type is JobEventType.STARTED
        if event.fence < fence or (is_claim and event.fence == fence):
            said.append(f"{event.uid} has fence {event.fence} at revision {event.rev}, after {fence}")
        fence = event.fence
    return said


def wrong_points(uid: str, iterations: Sequence[int], last: int | None) -> list[str]:
    """Each iteration from 1 to the last is there once."""
    wanted = Counter(range(1, (last or 0) + 1))
    found = Counter(iterations)
    if found == wanted:
        return []
    missing, extra = sorted((wanted - found).elements()), sorted((found - wanted).elements())
    return [f"{uid} ends at iteration {last}: missing {missing}, more than once or beyond {extra}"]


def different_losses(uid: str, losses: Sequence[float], reference: Sequence[float]) -> list[str]:
    """A job that was disturbed trained as one that was not."""
    for iteration, (found, wanted) in enumerate(zip(losses, reference, strict=False), start=1):
        if found != wanted:
            return [f"{uid} has a loss of {found!r} at iteration {iteration}; undisturbed it is {wanted!r}"]
    if len(losses) != len(reference):
        return [f"{uid} has {len(losses)} losses; undisturbed there are {len(reference)}"]
    return []


def unequal_state(uid: str, job: Mapping[str, Any], events: Sequence[JobEvent]) -> list[str]:
    """No state without its event, no event without its state: the newest event is what the job is."""
    if not events:
        return [f"{uid} has no event"]
    newest = max(events, key=lambda one: one.rev)
    if (job["rev"], job["status"]) != (newest.rev, newest.status.value):
        return [f"{uid} is {job['status']} at {job['rev']}, told is {newest.status} at {newest.rev}"]
    return []


def unended(jobs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Every job that was to train has ended."""
    past = {status.value for status in PAST}
    return [f"{uid} is still {job['status']}" for uid, job in jobs.items() if job["status"] not in past]


@dataclass(frozen=True)
class Attempt:
    """What a trainer asked for a run, while an event with `newest` as its job's fence was already told."""

    uid: str
    what: str
    fence: int
    newest: int
    is_accepted: bool


def stale_writes(attempts: Sequence[Attempt]) -> list[str]:
    """Who was replaced changes nothing any more."""
    return [
        f"{one.uid}: {one.what} of fence {one.fence} was accepted after fence {one.newest} had been told"
        for one in attempts
        if one.is_accepted and one.fence < one.newest
    ]
