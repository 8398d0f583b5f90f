"""What telemetry is asked and answers."""

from pydantic import Field

from tunedeck_contracts.jobs import Status
from tunedeck_contracts.message import Message, Timestamp
from tunedeck_contracts.training import LogLine, LossPoint, ResourceSample

_FENCE_STRIDE = 1_000_000_000


def sequence(fence: int, iteration: int) -> int:
    """The cursor of a point in a job's stream: ordered by fence, then iteration; below 2**53.

    A client passes the last one it saw as `after`. A new attempt has a higher
    fence, so its points come after everything of the former one.
    """
    return fence * _FENCE_STRIDE + iteration


def iteration_of(seq: int) -> int:
    """The iteration that a cursor is at."""
    return seq % _FENCE_STRIDE


class ListLosses(Message):
    """The newest points of a job, oldest first; without `job_id`, of the job started last."""

    job_id: str | None = None
    last_n: int = Field(default=20, ge=1, le=10_000)


class LossList(Message):
    """The HTTP answer is the bare list."""

    points: list[LossPoint]

    def to_json(self) -> bytes:
        return b"[" + b",".join(one.to_json() for one in self.points) + b"]"


class GetCurrentLoss(Message):
    """The newest point of a job."""

    job_id: str | None = None


class ListResources(Message):
    """The newest samples of a job, oldest first; with no job, those of idle trainers."""

    job_id: str | None = None
    last_n: int = Field(default=20, ge=1, le=10_000)


class ResourceList(Message):
    """The HTTP answer is the bare list."""

    samples: list[ResourceSample]

    def to_json(self) -> bytes:
        return b"[" + b",".join(one.to_json() for one in self.samples) + b"]"


class GetCurrentResources(Message):
    """The newest sample of a job."""

    job_id: str | None = None


class GetTrainingStatus(Message):
    """How far a job is."""

    job_id: str


class TrainingStatus(Message):
    """What `GET /api/training/status/{job_id}` answers, for every known job."""

    job_id: str
    status: Status
    current_epoch: int
    total_epochs: int
    progress_percent: float
    elapsed_time: str = Field(description="'1h 23m 45s'.")
    estimated_remaining: str = Field(description="'~32m 15s', or 'unknown' before the first step.")
    current_step: int
    total_steps: int


class GetTrainingSummary(Message):
    """The job started last, or the one named."""

    job_id: str | None = None


class MemoryUsage(Message):
    """Gigabytes of 2**30 bytes."""

    ram_used: float
    ram_total: float
    vram_used: float
    vram_total: float


class Temperatures(Message):
    """Degrees Celsius; None without a sensor."""

    gpu: float | None
    cpu: float | None


class TrainingSummary(Message):
    """What `GET /api/training/summary` answers."""

    job_id: str
    training_mode: str
    is_completed: bool
    current_iteration: int
    current_epoch: int
    current_step: int
    current_train_loss: float
    current_val_loss: float
    gpu_utilization: float
    memory_usage: MemoryUsage
    temperatures: Temperatures
    elapsed_time: str = Field(description="'1:23:45'.")
    data_point: str = Field(description="'145/230'.")


class GetHistory(Message):
    """What a live stream shows before it goes live: the points after a cursor."""

    job_id: str
    after: int = Field(default=0, ge=0, description="A `seq`; 0 for all.")
    limit: int = Field(default=1000, ge=1, le=1000)


class HistoryPoint(Message):
    """A stored point with its cursor, and the newest sample taken no later (None before the first)."""

    seq: int
    fence: int
    point: LossPoint
    resources: ResourceSample | None


class History(Message):
    """Oldest first. `more` says that the limit cut it: ask again after the last `seq`."""

    job_id: str
    status: Status
    training_mode: str
    fence: int
    resume_step: int = Field(default=0, description="The fence owns the iterations after this one.")
    total: int
    last_iteration: int | None = Field(description="Of a job that ended: the last point of its last run.")
    points: list[HistoryPoint]
    more: bool


class Stored(Message):
    """Highest number up to which every point of each kind is stored; 0 for none.

    The trainer frees its spool up to here.
    """

    losses: int
    resources: int
    logs: int


class GetStored(Message):
    """How much of a run is stored, beyond what the trainer already knows to be."""

    job_id: str
    fence: int
    after: Stored


class ForgetJob(Message):
    """Remove all that is stored of a deleted job, and store nothing of it that comes later."""

    job_id: str


class Forgotten(Message):
    """How many points, samples and lines were removed; asking again removes and counts none."""

    points: int


class ListLogs(Message):
    """The newest log lines of a job, oldest first."""

    job_id: str
    limit: int = Field(default=200, ge=1, le=200)


class LogEntry(LogLine):
    """A log line and the fence of the run that wrote it."""

    fence: int


class LogList(Message):
    """What `GET /api/jobs/{uid}/logs` answers."""

    job_id: str
    lines: list[LogEntry]


class DeadLetter(Message):
    """A message that a service could not handle, for an operator. `data`: base64, at most the first MiB."""

    service: str
    subject: str
    reason: str
    deliveries: int
    headers: dict[str, str]
    data: str
    size: int | None = Field(
        default=None, description="Bytes of the whole message; null in letters of before it was noted."
    )
    parked_at: Timestamp
