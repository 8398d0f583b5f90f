"""The table of states."""

from tunedeck_contracts.events import JobEventType
from tunedeck_contracts.jobs import CURRENT, PAST, Status
from tunedeck_jobs.lifecycle import RULES, Change, allowed


def test_terminal_states_absorb() -> None:
    ways_out = [(change, status) for change in Change for status in PAST if allowed(change, status)]
    assert ways_out == [(Change.DELETE, status) for status in PAST]
    assert RULES[Change.DELETE].target is None


def test_every_state_but_created_is_reached_and_every_current_one_is_left() -> None:
    to_a_state = [rule for rule in RULES.values() if rule.target is not None]
    assert {rule.target for rule in to_a_state} == set(Status)
    assert {source for rule in to_a_state for source in rule.sources} == set(CURRENT)


def test_what_waits_for_a_trainer_or_has_one_is_not_deleted() -> None:
    refused = [status for status in Status if not allowed(Change.DELETE, status)]
    assert refused == [Status.QUEUED, Status.RUNNING]


def test_only_a_created_job_can_be_started() -> None:
    assert [status for status in Status if allowed(Change.QUEUE, status)] == [Status.CREATED]


def test_every_change_has_a_rule_and_an_event_of_its_own_name() -> None:
    assert set(RULES) == set(Change)
    assert {rule.event for rule in RULES.values()} == set(JobEventType)


def test_only_a_waiting_job_can_be_claimed() -> None:
    assert [status for status in Status if allowed(Change.CLAIM, status)] == [Status.QUEUED]
