"""What a trainer and the jobs service say to each other about one run of a job.

Every message carries the fence: a number that each claim raises, so that a
trainer that was replaced can change nothing any more.
"""

from enum import StrEnum

from pydantic import Field

from tunedeck_contracts.checkpoints import Checkpoint
from tunedeck_contracts.datasets import ResolvedDataset
from tunedeck_contracts.estimates import Probed
from tunedeck_contracts.failures import Failure
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.jobs import LOG_LINES_KEPT, Device, Phase, Result, Wanted
from tunedeck_contracts.message import Message
from tunedeck_contracts.model_saving import ModelSaving, StoredArtifact
from tunedeck_contracts.models import ResolvedModel
from tunedeck_contracts.training import LogLine, LossPoint


class Claim(Message):
    """Give me a job. A repeated `claim_id` gets the same run again: the reply may have been lost."""

    worker: str
    claim_id: str
    devices: list[str] = Field(description="'cpu', or 'cuda:0' and so on.")


class Run(Message):
    """One attempt at a job."""

    job_uid: str
    job_name: str
    fence: int
    attempt: int
    training_mode: str
    model: ResolvedModel
    dataset: ResolvedDataset
    hyperparameters: Hyperparameters
    model_saving: ModelSaving
    lease_seconds: float
    beat_seconds: float
    checkpoints: list[Checkpoint] = Field(
        default=[],
        description="Registered ones of the job, newest first; a resume takes the first that is whole. One "
        "of fence 0 is of the job that this one tries again: its points are told anew as this run's.",
    )
    device: Device | None = None
    probed: Probed | None = Field(
        default=None, description="What an earlier attempt's probe has found: it is not looked for again."
    )
    stop_after_steps: int | None = Field(
        default=None, description="Optimizer steps after which it ends, before its settings say so."
    )


class Claimed(Message):
    """The run, or None when nothing waits."""

    run: Run | None = None


class Beat(Message):
    """The run is alive; renews the lease."""

    job_uid: str
    fence: int
    phase: Phase
    step: int = 0
    total_steps: int = 0
    epoch: int = 0
    total_epochs: int = 0
    point: LossPoint | None = None
    resume_iteration: int | None = Field(
        default=None,
        description="The `iteration` of the job's own checkpoint that the run went on from; 0 from the start "
        "or from another job's; null while it is not decided.",
    )
    probed: Probed | None = Field(default=None, description="What the run's probe has found, once it has.")
    log: list[LogLine] = Field(
        default=[],
        max_length=LOG_LINES_KEPT,
        description="The run's last lines, where the service does not have the newest: they stay with a job "
        "whose trainer is lost.",
    )


class BeatReply(Message):
    """What a person wants of the run. A trainer that was replaced gets the error `Fenced` instead."""

    wanted: Wanted


class Outcome(StrEnum):
    """How a run ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PAUSED = "paused"
    """A person wanted it: its checkpoint is registered, unless no step was done yet."""
    LOST = "lost"
    """The worker was lost, or failed by what may pass by itself, as a Hub that is away: the job is queued
    again, up to the limit of attempts."""


class Report(Message):
    """A run has ended."""

    job_uid: str
    fence: int
    outcome: Outcome
    last_iteration: int = Field(
        default=0, description="Of the run's last point; telemetry has it and all before."
    )
    failure: Failure | None = None
    result: Result | None = None
    probed: Probed | None = Field(default=None, description="As in its beats, of which a short run has few.")
    artifacts: list[StoredArtifact] = []
    log: list[LogLine] = Field(
        default=[],
        max_length=LOG_LINES_KEPT,
        description="The run's last lines: kept with the job when it ends by this report.",
    )


class Reported(Message):
    """The report is stored."""
