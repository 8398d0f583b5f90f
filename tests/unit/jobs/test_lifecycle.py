"""The table of states."""

import itertools

from tunedeck_contracts.events import JobEventType
from tunedeck_contracts.jobs import CURRENT, PAST, Status
from tunedeck_jobs.lifecycle import RULES, By, Change, Guard, Reached, allowed
from tunedeck_jobs.queue import ENDS
from tunedeck_jobs.repository.conditions import Facts, query

DESIGN = {
    (None, Status.CREATED),
    (Status.CREATED, Status.QUEUED),
    (Status.QUEUED, Status.RUNNING),
    (Status.RUNNING, Status.QUEUED),
    (Status.RUNNING, Status.PAUSED),
    (Status.RUNNING, Status.CANCELLED),
    (Status.PAUSED, Status.QUEUED),
    (Status.CREATED, Status.CANCELLED),
    (Status.QUEUED, Status.CANCELLED),
    (Status.PAUSED, Status.CANCELLED),
    (Status.RUNNING, Status.COMPLETED),
    (Status.RUNNING, Status.FAILED),
}
"""The ways of persons and trainers; a deadline adds a way from every current state to failed."""
DEADLINE = {(status, Status.FAILED) for status in CURRENT}


def test_the_table_has_the_ways_of_the_design_and_no_other() -> None:
    ways = {
        (source, rule.target)
        for rule in RULES.values()
        for source in (rule.sources or {None})
        if isinstance(rule.target, Status)
    }
    assert ways == DESIGN | DEADLINE


def test_every_change_has_a_rule_and_every_event_a_change() -> None:
    assert set(RULES) == set(Change)
    assert {rule.event for rule in RULES.values()} == set(JobEventType)


def test_terminal_states_absorb() -> None:
    ways_out = [(change, status) for change in Change for status in PAST if allowed(change, status)]
    assert ways_out == [(Change.DELETE, status) for status in PAST]
    assert RULES[Change.DELETE].target is Reached.GONE


def test_every_current_state_is_left_and_can_end() -> None:
    reached = set(PAST)
    while True:
        more = {
            source
            for rule in RULES.values()
            for source in rule.sources
            if rule.target in reached and source not in reached
        }
        if not more:
            break
        reached |= more
    assert reached == set(Status)


def test_what_waits_for_a_trainer_or_has_one_is_not_deleted() -> None:
    refused = [status for status in Status if not allowed(Change.DELETE, status)]
    assert refused == [Status.QUEUED, Status.RUNNING]


def test_whatever_a_trainer_does_with_a_job_that_it_has_needs_its_fence() -> None:
    unfenced = {
        change
        for change, rule in RULES.items()
        if rule.sources == {Status.RUNNING} and rule.by is not By.PERSON and Guard.FENCE not in rule.guards
    }
    assert unfenced == set()


def test_a_job_that_a_person_wants_cancelled_ends_in_no_other_way_by_a_report() -> None:
    for changes in ENDS.values():
        assert changes[0] is Change.CANCEL_RUNNING
        for other in changes[1:]:
            assert RULES[other].guards & {Guard.NOT_CANCELLED, Guard.WANTS_RUN, Guard.WANTS_PAUSE}


def test_a_guard_refuses_to_go_without_its_fact() -> None:
    needs = {
        Guard.FENCE,
        Guard.DEVICE,
        Guard.ATTEMPTS_LEFT,
        Guard.NO_ATTEMPT_LEFT,
        Guard.EARLIER,
        Guard.COARSER,
        Guard.UNCHANGED,
    }
    for change, guard in itertools.product([Change.RESCHEDULE], Guard):
        try:
            query(change, Facts(), guard)
        except AssertionError:
            assert guard in needs
        else:
            assert guard not in needs
