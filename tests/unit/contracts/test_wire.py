"""Subjects, ids, errors, times and cursors as they travel."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunedeck_contracts import errors, ids, rpc, subjects
from tunedeck_contracts.cloudevents import event
from tunedeck_contracts.jobs import GetJob
from tunedeck_contracts.message import Message, Timestamp
from tunedeck_contracts.telemetry import sequence


class Moment(Message):
    at: Timestamp


def test_times_are_utc_with_milliseconds_and_a_z() -> None:
    at = datetime(2025, 7, 3, 14, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    assert json.loads(Moment(at=at).to_json()) == {"at": "2025-07-03T12:00:00.123Z"}


@given(st.text(max_size=80))
def test_an_id_is_one_token_of_a_subject_or_refused(value: str) -> None:
    if ids.is_safe_id(value):
        assert subjects.job_event(value).count(".") == 2
        assert not set(value) & set(".*> \t\r\n")
    else:
        with pytest.raises(ValueError, match="cannot be part of a subject"):
            subjects.job_event(value)


def test_new_ids_are_safe_and_look_as_documented() -> None:
    assert ids.new_job_uid().startswith("job_") and len(ids.new_job_uid().split("_")) == 3
    for made in (ids.new_job_uid(), ids.new_dataset_uid(), ids.new_upload_uid()):
        assert ids.is_safe_id(made)


def test_an_error_crosses_the_wire_and_is_raised_as_it_was() -> None:
    sent = errors.Fenced("Gone.", [errors.FieldProblem(loc="a.b", message="no")])
    received = errors.from_reply(errors.ErrorReply.model_validate_json(sent.reply().to_json()))
    assert type(received) is errors.Fenced
    assert (received.detail, received.errors) == (sent.detail, sent.errors)


def test_an_error_without_field_problems_has_the_three_documented_keys() -> None:
    assert json.loads(errors.NotFound("No.").reply().to_json()) == {
        "detail": "No.",
        "status_code": 404,
        "error_type": "NotFound",
    }


def test_an_error_of_an_unknown_type_keeps_its_status() -> None:
    reply = errors.ErrorReply(detail="Late.", status_code=409, error_type="TooLate")
    assert errors.from_reply(reply).status_code == 409


@given(st.integers(1, 9_000_000), st.integers(1, 999_999_999))
def test_a_newer_fence_comes_after_and_javascript_can_hold_it(fence: int, iteration: int) -> None:
    assert sequence(fence, iteration) < sequence(fence + 1, 1) < 2**53


def test_an_event_has_cloudevents_attributes_and_its_id_deduplicates() -> None:
    told = event(
        subject="s", id="job_1:3:started", type="t.v1", source="/x", about="job_1", data=GetJob(uid="a")
    )
    headers = told.headers("c-1")
    assert {name for name in headers if name.startswith("ce-")} == {
        "ce-specversion", "ce-id", "ce-type", "ce-source", "ce-subject", "ce-time",
    }  # fmt: skip
    assert headers["Nats-Msg-Id"] == headers["ce-id"] == "job_1:3:started"
    assert datetime.fromisoformat(headers["ce-time"]).tzinfo == UTC


def test_creating_answers_201_and_the_rest_200() -> None:
    assert rpc.JOB_CREATE.status == 201
    assert rpc.JOB_GET.status == 200
