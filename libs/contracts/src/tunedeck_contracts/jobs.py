"""Jobs as the API shows them, and what may be asked of them."""

from enum import StrEnum
from typing import Any

from pydantic import ConfigDict, Field

from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.message import CamelMessage, Message, Timestamp


class Status(StrEnum):
    """api.md's words for the state of a job."""

    CREATED = "created"
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


CURRENT = (Status.CREATED, Status.QUEUED, Status.RUNNING)
PAST = (Status.COMPLETED, Status.FAILED, Status.CANCELLED)


class Phase(StrEnum):
    """Where a running job is."""

    PREPARING = "preparing"
    TRAINING = "training"
    EVALUATING = "evaluating"
    SAVING = "saving"
    FINALIZING = "finalizing"


class Wanted(StrEnum):
    """What a person wants of a running job; the trainer learns it with its next beat."""

    RUN = "run"
    CANCEL = "cancel"


class Reference(CamelMessage):
    """A model or dataset, named by a client."""

    uid: str = Field(min_length=1, max_length=200)
    name: str = Field(default="", max_length=200)


class RequestedConfiguration(CamelMessage):
    """`hyperparameters` is checked by the jobs service: fields win over a uid, a uid alone is decoded."""

    model: Reference
    dataset: Reference
    hyperparameters: dict[str, Any] = Field(default={}, max_length=64)


class ModelSaving(CamelMessage):
    """What becomes of the tuned model."""

    save_model: bool = True
    model_name: str = Field(default="", max_length=200)


class CreateJob(CamelMessage):
    """What `POST /api/jobs` takes."""

    name: str = Field(min_length=1, max_length=200)
    description: str = Field(default="", max_length=4000)
    tags: list[str] = Field(default=[], max_length=50)
    configuration: RequestedConfiguration
    model_saving: ModelSaving = ModelSaving()
    start: bool = Field(default=True, description="Queue the job when its model and dataset resolve.")


class JobHyperparameters(Hyperparameters):
    """The settings of a job with their uid, which may be the client's own."""

    uid: str


class Configuration(CamelMessage):
    """What a job trains, on what, and how."""

    model: Reference
    dataset: Reference
    hyperparameters: JobHyperparameters


class Failure(Message):
    """Why a job failed and what to change."""

    code: str
    detail: str
    hint: str


class TrainingProgress(CamelMessage):
    """The `training` of a job; steps and progress come from the newest beat."""

    started_at: Timestamp | None = None
    ended_at: Timestamp | None = None
    progress: float = Field(default=0.0, ge=0, le=100, description="Percent of the optimizer steps done.")
    phase: Phase | None = None
    current_epoch: int = 0
    total_epochs: int = 0
    current_step: int = 0
    total_steps: int = 0


class LiveMetrics(Message):
    """The newest point of a running job, from its trainer's last beat."""

    current_loss: float
    validation_loss: float
    current_epoch: int
    current_step: int
    last_updated: Timestamp


class Artifact(Message):
    """One file of the tuned model; `path` is what follows `/artifacts/` in its address."""

    path: str
    size: int = Field(description="Bytes.")
    sha256: str
    blob_id: str = Field(exclude=True)


class StoredArtifact(Artifact):
    """An artifact as the trainer reports it, with where its bytes are."""

    blob_id: str


class Result(CamelMessage):
    """What training achieved. Losses are mean cross-entropy per trained token, in nats."""

    validation_loss_before: float
    validation_loss_after: float
    train_rows: int
    validation_rows: int
    truncated_rows: int
    trained_tokens: int
    seconds: float


class Job(CamelMessage):
    """A job as api.md shows it, with keys beside."""

    model_config = ConfigDict(protected_namespaces=())

    uid: str
    name: str
    description: str
    tags: list[str]
    status: Status
    created_at: Timestamp
    last_modified: Timestamp
    configuration: Configuration
    model_saving: ModelSaving
    training: TrainingProgress
    training_mode: str = "manual"
    problems: list[str] = Field(description="What is missing before the job can be queued.")
    wanted: Wanted
    rev: int = Field(description="Counts the changes of the job's state.")
    attempt: int = Field(description="How often a trainer has claimed it.")
    failure: Failure | None = None
    result: Result | None = None
    artifacts: list[Artifact] = []
    live_metrics: LiveMetrics | None = Field(
        default=None, alias="live_metrics", exclude_if=lambda value: value is None
    )


class JobCreated(Message):
    """What `POST /api/jobs` answers."""

    success: bool = True
    message: str
    job_uid: str = Field(serialization_alias="jobUid")
    job: Job


class GetJob(Message):
    """One job by its uid."""

    uid: str


class ListJobs(Message):
    """Jobs of some statuses, newest first; at most 1,000."""

    statuses: list[Status] | None = None
    limit: int = Field(default=1000, ge=1, le=1000)


class JobList(Message):
    """What `GET /api/jobs` answers. The counts are over all jobs, the list over those asked for."""

    jobs: list[Job]
    total: int
    current_count: int
    past_count: int


class CancelJob(Message):
    """Cancel a job: at once where it waits, at the next step boundary where it runs."""

    uid: str


class GetArtifact(Message):
    """One file of a completed job."""

    uid: str
    path: str


class ArtifactLocation(Message):
    """Where the gateway finds the bytes."""

    path: str
    size: int
    sha256: str
    blob_id: str
