"""What a person may ask of a job: another state, priority or deadline, its removal, its events."""

from pydantic import Field, StrictInt, model_validator

from tunedeck_contracts.events import JobEvent
from tunedeck_contracts.jobs import HIGHEST_PRIORITY, LOWEST_PRIORITY
from tunedeck_contracts.message import CamelMessage, GivenTime, Message

EVENTS_KEPT = 1000


class CancelJob(Message):
    """Cancel a job: at once where it waits, at the next step boundary where it runs."""

    uid: str


class StartJob(Message):
    """Queue a created job, if its model and dataset resolve now."""

    uid: str


class DeleteJob(Message):
    """Remove a job that is not queued and does not run, and all that belongs to it."""

    uid: str


class JobDeleted(CamelMessage):
    """What `DELETE /api/jobs/{uid}` answers."""

    success: bool = True
    message: str
    uid: str
    artifacts: int = Field(
        description="Files of the tuned model that go with it; `message` says when their removal follows."
    )
    artifact_bytes: int
    points: int | None = Field(
        description="Loss points, samples and log lines that were removed; "
        "null when telemetry was away and removes them once it is back."
    )


class PauseJob(Message):
    """Stop a running job at the next step boundary, with a checkpoint; its trainer is free then."""

    uid: str


class ResumeJob(Message):
    """Queue a paused job again; a pause that is not reached yet is taken back."""

    uid: str


class RetryOptions(Message):
    """What `POST /api/jobs/{uid}/retry` takes."""

    from_checkpoint: StrictInt | None = Field(
        default=None,
        ge=1,
        description="The `step` of a registered checkpoint to go on from; without it, from the start.",
    )


class RetryJob(Message):
    """A new job of what a failed or cancelled one was to train."""

    uid: str
    options: RetryOptions = RetryOptions()
    owner: str = Field(default="", description="The id of the API key that sent it; empty without one.")
    idempotency_key: str | None = None


class JobChanges(Message):
    """What `PATCH /api/jobs/{uid}` takes: what is named is changed, a `deadline` of null takes it away."""

    priority: StrictInt | None = Field(
        default=None, ge=LOWEST_PRIORITY, le=HIGHEST_PRIORITY, description="Higher goes first in the queue."
    )
    deadline: GivenTime | None = Field(
        default=None, description="A time with its zone by which the job must have ended, else it fails."
    )

    @model_validator(mode="after")
    def _changes_something(self) -> "JobChanges":
        if not self.model_fields_set:
            raise ValueError("Name `priority`, `deadline` or both.")
        if "priority" in self.model_fields_set and self.priority is None:
            raise ValueError("`priority` is a whole number; 0 is the usual one.")
        return self


class ChangeJob(Message):
    """Another priority or deadline for a job that has not ended."""

    uid: str
    changes: JobChanges

    def to_json(self) -> bytes:
        # What a client has not named must not arrive as a null, which would take the deadline away.
        return self.model_dump_json(exclude_unset=True).encode()


class ListJobEvents(Message):
    """Everything that happened to a job."""

    uid: str


class JobEventList(Message):
    """What `GET /api/jobs/{uid}/events` answers, oldest first; `rev` counts without a hole."""

    events: list[JobEvent] = Field(description=f"The newest {EVENTS_KEPT}.")
