"""Many jobs at once: lists with filters and pages, their CSV, counts, comparisons, the best so far."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from tunedeck_contracts.failures import Failure
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.jobs import Job, LiveMetrics, Reference, Result, Status, TrainingMode
from tunedeck_contracts.message import CamelMessage, Message, Timestamp

MOST_JOBS = 5000
"""Jobs in one answer; `next_cursor` tells that there are more."""

MOST_EXPORTED = 20_000
"""Jobs in one CSV."""


class JobGroup(StrEnum):
    """The two halves of api.md: what has not ended, and what has."""

    CURRENT = "current"
    PAST = "past"


class JobSort(StrEnum):
    """What a list is sorted by; a leading minus turns it round."""

    CREATED = "createdAt"
    NEWEST = "-createdAt"
    NAME = "name"
    NAME_DOWN = "-name"
    MODIFIED = "lastModified"
    MODIFIED_DOWN = "-lastModified"
    STATUS = "status"


def _words(value: Any) -> Any:
    """`["queued,running", "failed"]` as three words: the parameter is repeated or separated by commas."""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return [word.strip() for one in value for word in one.split(",") if word.strip()]
    return value


_WORD = rf"\s*({'|'.join(Status)})?\s*"
Statuses = Annotated[
    list[Status],
    BeforeValidator(_words),
    WithJsonSchema({"type": "array", "items": {"type": "string", "pattern": f"^{_WORD}(,{_WORD})*$"}}),
]


class JobFilters(Message):
    """Which jobs a list has. All given filters hold together."""

    status: Statuses = Field(
        default=[], description=f"Only these states: {', '.join(Status)}; repeated, or separated by commas."
    )
    q: str = Field(
        default="", max_length=200, description="Text in the name, description or uid, in any case."
    )
    tag: str | None = Field(default=None, max_length=100, description="Only jobs with this tag.")
    sort: JobSort = Field(default=JobSort.NEWEST, description="Order; jobs that are equal go by uid.")


class JobPage(JobFilters):
    """One page of a list."""

    limit: int | None = Field(
        default=None,
        ge=1,
        le=MOST_JOBS,
        description=f"Jobs in the answer; all, up to {MOST_JOBS}, without it.",
    )
    cursor: str | None = Field(
        default=None,
        max_length=2000,
        description="The `next_cursor` of the page before, sent with the same filters.",
    )


class ListJobs(JobPage):
    """A page of all jobs, or of one half."""

    group: JobGroup | None = None


class JobList(Message):
    """What `GET /api/jobs` answers. The counts are over all jobs, the list over those asked for."""

    jobs: list[Job]
    total: int
    current_count: int
    past_count: int
    next_cursor: str | None = Field(description="Where the next page begins; null at the end.")


class ExportJobs(JobFilters):
    """The CSV of a whole list; one of more than 20,000 jobs is refused, and the filters narrow it."""


class JobsExport(Message):
    """The HTTP answer is the bare text: CSV by RFC 4180 with a header, for people and their spreadsheets."""

    text: str

    def to_json(self) -> bytes:
        return self.text.encode()


class GetJobStatistics(Message):
    """Counts of all jobs."""


class CurrentCounts(Message):
    """Jobs that have not ended."""

    total: int
    running: int
    queued: int
    created: int
    paused: int = 0


class PastCounts(Message):
    """Jobs that have ended."""

    total: int
    completed: int
    failed: int
    cancelled: int


class JobStatistics(Message):
    """What `GET /api/jobs/statistics` answers."""

    total: int
    current: CurrentCounts
    past: PastCounts
    success_rate: str = Field(
        description="Of the completed and failed jobs, how many completed: '71.4%'; '0.0%' without any."
    )
    last_updated: Timestamp = Field(description="When it was counted.")


class CompareJobs(Message):
    """Jobs to set side by side; each once."""

    uids: list[str] = Field(min_length=2, max_length=20, description="Uids of jobs.")


class JobSummary(CamelMessage):
    """What a comparison shows of one job."""

    uid: str
    name: str
    status: Status
    training_mode: TrainingMode
    model: Reference
    dataset: Reference
    started_at: Timestamp | None
    ended_at: Timestamp | None
    seconds: float | None = Field(
        description="From the first start to the end, or to now; null before it started."
    )
    validation_loss: float | None = Field(
        description="The result's, or a running job's newest; mean cross-entropy per trained token, in nats."
    )
    live_metrics: LiveMetrics | None = Field(alias="live_metrics")
    result: Result | None
    failure: Failure | None


class JobComparison(CamelMessage):
    """What `POST /api/jobs/compare` answers, in the order asked for."""

    jobs: list[JobSummary]
    differences: dict[str, dict[str, Any]] = Field(
        description="Hyperparameters that are not the same everywhere: field, then uid, then value."
    )
    same_model: bool = Field(description="The same model at the same revision.")
    same_dataset: bool = Field(description="The same rows.")


class GetBestHyperparameters(Message):
    """The settings of the completed job with the lowest validation loss."""

    mode: TrainingMode | None = Field(default=None, description="Only jobs of this training mode.")
    dataset: str | None = Field(
        default=None,
        max_length=200,
        description="Only jobs on this dataset (its uid): losses on different rows do not compare.",
    )


class BestHyperparameters(Message):
    """What `GET /api/hyperparameters/best` answers."""

    uid: str
    hyperparameters: Hyperparameters
    mode: TrainingMode
    job_uid: str
    job_name: str
    validation_loss: float = Field(
        description="After training; mean cross-entropy per trained token, in nats."
    )
    model: Reference
    dataset: Reference


class FindJobsUsing(Message):
    """Which jobs that have not ended need a dataset."""

    dataset: str = Field(min_length=1, max_length=200, description="A dataset's uid.")
    also: list[Annotated[str, Field(max_length=200)]] = Field(
        default=[], max_length=2, description="Its `id` and `upload_id`: an unresolved job may name it so."
    )


class JobsUsing(Message):
    """At most 100 uids; empty when none needs it."""

    jobs: list[str]
