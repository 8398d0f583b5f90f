"""Every subject on the bus. Nobody types one anywhere else; a test looks.

Requests: `rpc.<service>.<noun>.<verb>`, outside every stream (see `rpc.py`).
Events: `job.event.<uid>` and `training.<kind>.<uid>`, kept by streams; `generation.<stream id>`, kept by
nobody.
"""

from enum import StrEnum

from tunedeck_contracts.ids import is_safe_id

JOB_START = "job.start"
"""A wake-up for trainers: some job is queued. Carries no state."""

JOB_EVENTS = "job.event.*"
TRAINING_EVENTS = "training.*.*"
DEAD_LETTERS = "dlq.*"
GENERATION_EVENTS = "generation.*"


class TrainingKind(StrEnum):
    """The three things a training run tells."""

    LOSS = "loss"
    RESOURCES = "resources"
    LOG = "log"


def _token(value: str) -> str:
    if not is_safe_id(value):
        raise ValueError(f"{value!r} cannot be part of a subject")
    return value


def request_subject(service: str, noun: str, verb: str) -> str:
    """Where a request to a service goes."""
    return f"rpc.{_token(service)}.{_token(noun)}.{_token(verb)}"


def requests_of(service: str) -> str:
    """A wildcard for every request to a service."""
    return f"rpc.{_token(service)}.>"


def job_event(uid: str) -> str:
    """Where the events of one job are published."""
    return f"job.event.{_token(uid)}"


def training_event(kind: TrainingKind, uid: str) -> str:
    """Where the points of one job are published; for an idle trainer, `uid` is its own id."""
    return f"training.{kind.value}.{_token(uid)}"


def training_events_of(uid: str) -> str:
    """A wildcard for every kind of point of one job."""
    return f"training.*.{_token(uid)}"


def generation_event(stream_id: str) -> str:
    """Where the tokens of one answer are told, to who listens now."""
    return f"generation.{_token(stream_id)}"


def inbox(user: str) -> str:
    """The prefix of the subjects to which a user's replies come: nobody else may listen there."""
    return f"_INBOX_{_token(user)}"


def dead_letter(service: str) -> str:
    """Where a service parks a message it cannot handle."""
    return f"dlq.{_token(service)}"
