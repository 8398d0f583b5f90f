"""The events of jobs, one for each change of a job."""

from enum import StrEnum

from pydantic import Field

from tunedeck_contracts.estimates import BatchSplit
from tunedeck_contracts.failures import Failure
from tunedeck_contracts.jobs import Status, Wanted
from tunedeck_contracts.message import Message, Timestamp


class JobEventType(StrEnum):
    """What happened, past tense."""

    CREATED = "created"
    QUEUED = "queued"
    STARTED = "started"
    REQUEUED = "requeued"
    FELL_BACK = "fell_back"
    ADJUSTED = "adjusted"
    CHECKPOINTED = "checkpointed"
    PAUSE_REQUESTED = "pause_requested"
    PAUSE_WITHDRAWN = "pause_withdrawn"
    CANCEL_REQUESTED = "cancel_requested"
    PAUSED = "paused"
    RESUMED = "resumed"
    RESCHEDULED = "rescheduled"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DELETED = "deleted"

    @property
    def cloudevent_type(self) -> str:
        """The CloudEvents type, with its version."""
        return f"dev.tunedeck.job.{self.value}.v1"


class JobEvent(Message):
    """The job after the change. `rev` counts changes from 1 without a hole: drop what is not newer.

    `deleted` is a job's last event; its `status` is the one that the job had.
    """

    uid: str
    rev: int
    type: JobEventType
    at: Timestamp
    status: Status
    name: str
    training_mode: str
    fence: int
    attempt: int
    resume_step: int = Field(
        default=0,
        description="The fence owns the iterations after this one. `fell_back` sets it lower: the newest "
        "checkpoint was not whole.",
    )
    wanted: Wanted = Wanted.RUN
    priority: int = 0
    deadline: Timestamp | None = None
    checkpoint_step: int | None = Field(default=None, description="Of the newest registered checkpoint.")
    total_epochs: int = 0
    started_at: Timestamp | None = None
    ended_at: Timestamp | None = None
    last_iteration: int | None = Field(default=None, description="Of a job that ended: its last point.")
    failure: Failure | None = None
    batch_split: BatchSplit | None = Field(
        default=None, description="How the batches are split so that they fit, since `adjusted`."
    )


class JobStart(Message):
    """A wake-up: some job is queued. Who hears it claims; the server picks the job."""

    uid: str
