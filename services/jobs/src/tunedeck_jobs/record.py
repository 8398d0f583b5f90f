"""A job as this service knows it: what clients see, and what only the system may set."""

from dataclasses import dataclass

from tunedeck_contracts.checkpoints import Checkpoint
from tunedeck_contracts.datasets import ResolvedDataset
from tunedeck_contracts.estimates import Probed
from tunedeck_contracts.events import JobEvent
from tunedeck_contracts.jobs import Job
from tunedeck_contracts.model_saving import StoredArtifact
from tunedeck_contracts.models import ResolvedModel


@dataclass(frozen=True)
class Pinned:
    """The exact model and rows that a queued job trains."""

    model: ResolvedModel
    dataset: ResolvedDataset


@dataclass(frozen=True)
class JobRecord:
    """One job: the view for clients, its fence, its pins, and where its files are.

    `checkpoints` are those registered, newest first; `released` the blobs of those that were let go.
    """

    job: Job
    fence: int
    pinned: Pinned | None
    stored_artifacts: tuple[StoredArtifact, ...]
    resume_step: int = 0
    probed: Probed | None = None
    checkpoints: tuple[Checkpoint, ...] = ()
    released: tuple[str, ...] = ()


@dataclass(frozen=True)
class NewJob:
    """A job to be stored: `notes` are problems that no start takes away; pinned, it is queued at once."""

    job: Job
    notes: tuple[str, ...]
    pinned: Pinned | None
    submission: "Submission | None" = None
    checkpoint: Checkpoint | None = None
    """What it goes on from, of the job that it tries again."""


@dataclass(frozen=True)
class Submission:
    """A client's own name for one request: its key among those of its owner, and the hash of what it sent."""

    owner: str
    key: str
    body_sha256: str


@dataclass(frozen=True)
class Submitted:
    """What a submission made: the job as it was first answered."""

    body_sha256: str
    job: Job


class KeyTaken(Exception):
    """A request with this key has made its job already."""


@dataclass(frozen=True)
class PendingEvent:
    """An event of the outbox: stored with the job, not yet published."""

    event: JobEvent

    @property
    def message_id(self) -> str:
        """The key that makes publishing it again harmless."""
        return f"{self.event.uid}:{self.event.rev}:{self.event.type.value}"
