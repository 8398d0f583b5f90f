"""The verdicts of the chaos tests are shown broken histories, and see them."""

from datetime import UTC, datetime

from tests.chaos.history import Acknowledged, Kind
from tests.chaos.nemesis import VICTIMS, plan
from tests.chaos.verdicts import (
    Attempt,
    broken_chain,
    different_losses,
    lost_writes,
    repeated_names,
    sinking_fences,
    stale_writes,
    unended,
    unequal_state,
    wrong_points,
)
from tunedeck_contracts.events import JobEvent, JobEventType
from tunedeck_contracts.jobs import Status

CREATED = (JobEventType.CREATED, Status.CREATED, 0)
QUEUED = (JobEventType.QUEUED, Status.QUEUED, 0)
STARTED = (JobEventType.STARTED, Status.RUNNING, 1)
LOST = (JobEventType.REQUEUED, Status.QUEUED, 2)
STARTED_AGAIN = (JobEventType.STARTED, Status.RUNNING, 3)
COMPLETED = (JobEventType.COMPLETED, Status.COMPLETED, 3)
LIFE = [CREATED, QUEUED, STARTED, LOST, STARTED_AGAIN, COMPLETED]


def events(*changes: tuple[JobEventType, Status, int]) -> list[JobEvent]:
    return [
        JobEvent(
            uid="job_1",
            rev=rev,
            type=kind,
            at=datetime.now(UTC),
            status=status,
            name="A job",
            training_mode="manual",
            fence=fence,
            attempt=0,
        )
        for rev, (kind, status, fence) in enumerate(changes, start=1)
    ]


def test_a_good_history_gives_no_sentence() -> None:
    life = events(*LIFE)
    assert broken_chain(life) == sinking_fences(life) == []
    assert unequal_state("job_1", {"rev": 6, "status": "completed"}, life) == []
    assert wrong_points("job_1", [1, 2, 3], 3) == []
    assert different_losses("job_1", [2.5, 2.25], [2.5, 2.25]) == []
    assert stale_writes([Attempt("job_1", "beat", 3, 3, True), Attempt("job_1", "beat", 1, 3, False)]) == []
    assert unended({"job_1": {"status": "failed"}}) == []


def test_a_lost_or_changed_write_is_seen() -> None:
    kept = Acknowledged(Kind.JOB, "job_1", {"name": "A job"})
    found = {(Kind.JOB, "job_1"): {"name": "A job"}}
    assert lost_writes([kept], found) == []
    assert len(lost_writes([kept], {})) == 1
    assert len(lost_writes([kept], {(Kind.JOB, "job_1"): {"name": "Another"}})) == 1
    assert len(lost_writes([Acknowledged(Kind.CANCEL, "job_1", {"status": "cancelled"})], found)) == 1


def test_a_write_done_twice_is_seen() -> None:
    assert repeated_names(["a", "b"]) == []
    assert repeated_names(["a", "b", "a"]) == ["'a' is there 2 times"]


def test_a_hole_a_repetition_and_an_illegal_change_are_seen() -> None:
    life = events(*LIFE)
    assert len(broken_chain(life[:2] + life[3:])) == 2  # the hole, and what it makes of the next change
    assert len(broken_chain([*life, life[-1]])) == 2
    assert len(broken_chain(events(CREATED, STARTED))) == 1
    revived = events(*LIFE, (JobEventType.REQUEUED, Status.QUEUED, 4))
    assert len(broken_chain(revived)) == 1


def test_a_fence_that_falls_or_is_given_twice_is_seen() -> None:
    again = (JobEventType.STARTED, Status.RUNNING, 2)
    assert len(sinking_fences(events(CREATED, QUEUED, STARTED, LOST, again))) == 1
    below = (JobEventType.COMPLETED, Status.COMPLETED, 2)
    assert len(sinking_fences(events(*LIFE[:-1], below))) == 1


def test_a_state_without_its_event_is_seen() -> None:
    life = events(*LIFE)
    assert len(unequal_state("job_1", {"rev": 7, "status": "failed"}, life)) == 1
    assert len(unequal_state("job_1", {"rev": 5, "status": "running"}, life)) == 1
    assert len(unequal_state("job_1", {"rev": 1, "status": "created"}, [])) == 1


def test_missing_repeated_and_other_points_are_seen() -> None:
    assert len(wrong_points("job_1", [1, 3], 3)) == 1
    assert len(wrong_points("job_1", [1, 2, 2, 3], 3)) == 1
    assert len(wrong_points("job_1", [1, 2, 3, 4], 3)) == 1
    assert len(different_losses("job_1", [2.5, 2.26], [2.5, 2.25])) == 1
    assert len(different_losses("job_1", [2.5], [2.5, 2.25])) == 1


def test_a_stale_write_and_a_job_without_an_end_are_seen() -> None:
    assert len(stale_writes([Attempt("job_1", "report", 1, 2, True)])) == 1
    assert len(unended({"job_1": {"status": "running"}, "job_2": {"status": "completed"}})) == 1


def test_a_seed_gives_the_same_kills_of_everyone() -> None:
    kills = plan(7, 16, 2.0)
    assert kills == plan(7, 16, 2.0) != plan(8, 16, 2.0)
    assert sorted(kill.victim for kill in kills) == sorted(2 * VICTIMS)
