"""Jobs as the API shows them, and what may be asked of them."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StrictBool, StrictInt, TypeAdapter, field_validator

from tunedeck_contracts.estimates import BatchSplit, JobEstimate
from tunedeck_contracts.failures import Failure
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.message import CamelMessage, GivenTime, Message, Timestamp
from tunedeck_contracts.model_saving import Artifact, HubPush, ModelSaving
from tunedeck_contracts.training import LogLine

LOWEST_PRIORITY, HIGHEST_PRIORITY = -100, 100
LOG_LINES_KEPT = 200


class Status(StrEnum):
    """api.md's words for the state of a job."""

    CREATED = "created"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


CURRENT = (Status.CREATED, Status.QUEUED, Status.RUNNING, Status.PAUSED)
PAST = (Status.COMPLETED, Status.FAILED, Status.CANCELLED)


class TrainingMode(StrEnum):
    """How the hyperparameters of a job are chosen."""

    MANUAL = "manual"
    AUTOMATED = "automated"


class Phase(StrEnum):
    """Where a running job is."""

    PREPARING = "preparing"
    PROBING = "probing"
    TRAINING = "training"
    EVALUATING = "evaluating"
    SAVING = "saving"
    FINALIZING = "finalizing"


class Wanted(StrEnum):
    """What a person wants of a running job; the trainer learns it with its next beat."""

    RUN = "run"
    PAUSE = "pause"
    CANCEL = "cancel"


class Device(StrEnum):
    """What a job asks of its trainer."""

    CPU = "cpu"
    GPU = "gpu"


class Reference(CamelMessage):
    """A model or dataset, named by a client."""

    uid: str = Field(
        min_length=1,
        max_length=200,
        description="A model's id; a dataset's uid or `id`, or a preview's `upload_id`, which saves it.",
    )
    name: str = Field(default="", max_length=200, description="For people.")


class ModelReference(Reference):
    """A model, named by a client, and the revision that is wanted of it."""

    revision: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="A commit of the Hub, or the `sha256:` of a folder; by default what is newest now.",
        exclude_if=lambda value: value is None,
    )


class RequestedConfiguration(CamelMessage):
    """`hyperparameters` is checked by the jobs service: fields win over a uid, a uid alone is decoded."""

    model: ModelReference
    dataset: Reference
    hyperparameters: dict[str, Any] = Field(
        default={}, max_length=64, description="The fields of `Hyperparameters` that are set, or a `uid`."
    )

    @field_validator("hyperparameters", mode="before")
    @classmethod
    def _can_be_sent_on(cls, value: Any) -> Any:
        # JSON may escape half a character (\ud800) and nest deeper than a message can; pydantic looks into no
        # Any. The lists stand for the levels that a message adds.
        try:
            TypeAdapter(Any).dump_json([[[[value]]]])
        except ValueError:
            raise ValueError("It is nested too deeply, or has half of a surrogate pair.") from None
        return value


class CreateJob(CamelMessage):
    """What `POST /api/jobs` takes."""

    name: str = Field(min_length=1, max_length=200, description="What people call it.")
    description: str = Field(default="", max_length=4000, description="What it is for.")
    tags: list[Annotated[str, Field(max_length=100)]] = Field(
        default=[], max_length=50, description="Words to find it by."
    )
    configuration: RequestedConfiguration
    model_saving: ModelSaving = ModelSaving()
    start: StrictBool = Field(default=True, description="Queue the job when its model and dataset resolve.")
    training_mode: TrainingMode | None = Field(
        default=None, description="By default the mode that `POST /api/training/mode/{mode}` has set."
    )
    priority: StrictInt = Field(
        default=0, ge=LOWEST_PRIORITY, le=HIGHEST_PRIORITY, description="Higher goes first in the queue."
    )
    deadline: GivenTime | None = Field(
        default=None, description="A time with its zone by which the job must have ended, else it fails."
    )
    device: Device | None = Field(
        default=None,
        description="What its trainer must have; by default any trainer may take the job, or of the method "
        "qlora any that has a GPU.",
    )
    stop_after_steps: StrictInt | None = Field(
        default=None,
        ge=1,
        description="Optimizer steps after which the run ends, though its settings are those of a longer "
        "one: what `tunedeck verify` replays. Of its files the manifest alone is kept.",
    )


class SubmitJob(Message):
    """A job as the gateway hands it on: what a client's body says, beside what only the gateway may say."""

    job: CreateJob
    owner: str = Field(default="", description="The id of the API key that sent it; empty without one.")
    idempotency_key: str | None = None


class JobHyperparameters(Hyperparameters):
    """The settings of a job with their uid, which may be the client's own."""

    uid: str


class Configuration(CamelMessage):
    """What a job trains, on what, and how."""

    model: ModelReference
    dataset: Reference
    hyperparameters: JobHyperparameters


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


class Result(CamelMessage):
    """What training achieved. Losses are mean cross-entropy per trained token, in nats."""

    validation_loss_before: float = Field(description="Of the base model, before the first step.")
    validation_loss_after: float = Field(
        description="Of the tuned model: the lowest of the evaluations after a step."
    )
    validation_loss_last: float | None = Field(
        default=None,
        description="After the last step. Null for a run of a former version, whose tuned model is of that.",
    )
    best_step: int | None = Field(
        default=None,
        description="The step that the tuned model's weights are of. Null for a run of a former version: its "
        "last one.",
    )
    train_rows: int
    validation_rows: int
    truncated_rows: int
    trained_tokens: int
    seconds: float
    peak_memory_bytes: int | None = Field(
        default=None,
        description="Most that training has had at once, of what `estimate` says.",
    )
    energy_watt_hours: float | None = Field(
        default=None, description="Of the GPUs, where they told in every attempt; of the time in `seconds`."
    )


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
    training_mode: TrainingMode = TrainingMode.MANUAL
    problems: list[str] = Field(
        description="What is missing before the job can be queued, and what is not done as it was asked for."
    )
    wanted: Wanted
    rev: int = Field(description="Counts the job's events.")
    attempt: int = Field(description="How often a trainer has claimed it.")
    priority: int = 0
    deadline: Timestamp | None = None
    device: Device | None = None
    stop_after_steps: int | None = Field(
        default=None,
        description="Optimizer steps after which the run ends before its settings say so.",
        exclude_if=lambda value: value is None,
    )
    retry_of: str | None = Field(default=None, description="The job that this one tries again.")
    queue_position: int | None = Field(default=None, description="Of a queued job: 1 is next.")
    expected_start: Timestamp | None = Field(
        default=None,
        description="Of a queued job: when a trainer is likely to take it, by the pace of what runs and what "
        "the last completed jobs took; null while nobody can say.",
    )
    failure: Failure | None = None
    result: Result | None = None
    estimate: JobEstimate | None = Field(
        default=None, description="What the job takes, predicted before its first step, and what it took."
    )
    batch_split: BatchSplit | None = Field(
        default=None,
        description="How its batches are split so that they fit; null while it is as `configuration` says.",
    )
    artifacts: list[Artifact] = []
    hub_push: HubPush | None = Field(
        default=None,
        description="What became of sending the files to the Hub, where that was asked for.",
        exclude_if=lambda value: value is None,
    )
    log: list[LogLine] | None = Field(
        default=None,
        description=f"Of one job that has ended: its last lines, at most {LOG_LINES_KEPT}; not in lists.",
        exclude_if=lambda value: value is None,
    )
    live_metrics: LiveMetrics | None = Field(
        default=None, alias="live_metrics", exclude_if=lambda value: value is None
    )


class JobCreated(Message):
    """What `POST /api/jobs` answers."""

    success: bool = True
    message: str
    job_uid: str = Field(alias="jobUid")
    job: Job

    model_config = {"validate_by_name": True, "validate_by_alias": True}


class GetJob(Message):
    """One job by its uid."""

    uid: str
