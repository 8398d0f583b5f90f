"""What telemetry knows of a job: a projection of its events, guarded by their revision."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tunedeck_chassis.bus import Bus
from tunedeck_contracts.events import JobEvent
from tunedeck_contracts.jobs import GetJob, Job, Status, TrainingMode
from tunedeck_contracts.rpc import JOB_GET, MODE_GET
from tunedeck_contracts.training_mode import GetMode
from tunedeck_telemetry.ownership import Tenure

ASKING_SECONDS = 1.5
"""Below the time limit of who asks telemetry, who is told then that it is the jobs service that is away."""


@dataclass(frozen=True)
class Totals:
    """How much a run will do, as its points say."""

    points: int = 0
    steps: int = 0
    epochs: int = 0


@dataclass(frozen=True)
class KnownJob:
    """A job as its newest event left it."""

    uid: str
    rev: int
    status: Status
    training_mode: str
    fence: int
    total_epochs: int
    started_at: datetime | None
    ended_at: datetime | None
    last_iteration: int | None
    tenures: tuple[Tenure, ...]
    totals: Totals

    @property
    def running_fence(self) -> int:
        """The newest fence that a trainer got; a lost lease raises the job's fence beyond it."""
        return max((tenure.fence for tenure in self.tenures), default=self.fence)

    @property
    def resume_step(self) -> int:
        """The running fence owns the iterations after this one: the lowest that was told of it."""
        own = (tenure.resume_step for tenure in self.tenures if tenure.fence == self.running_fence)
        return min(own, default=0)


class KnownJobs(Protocol):
    """Where the projection is stored."""

    async def known(self, uid: str) -> KnownJob | None:
        """The job, or None."""

    async def project(self, known: KnownJob) -> None:
        """Store it unless a newer revision is stored; its tenures are added in any case."""

    async def started_last(self) -> KnownJob | None:
        """The job that a trainer took up last."""


def from_event(event: JobEvent) -> KnownJob:
    """What one event says of its job."""
    is_run = event.status is Status.RUNNING
    return KnownJob(
        uid=event.uid,
        rev=event.rev,
        status=event.status,
        training_mode=event.training_mode,
        fence=event.fence,
        total_epochs=event.total_epochs,
        started_at=event.started_at,
        ended_at=event.ended_at,
        last_iteration=event.last_iteration,
        tenures=(Tenure(event.fence, event.resume_step),) if is_run else (),
        totals=Totals(),
    )


def from_job(job: Job) -> KnownJob:
    """What the jobs service says of a job whose events have not come yet."""
    return KnownJob(
        uid=job.uid,
        rev=job.rev,
        status=job.status,
        training_mode=job.training_mode,
        fence=0,
        total_epochs=job.training.total_epochs,
        started_at=job.training.started_at,
        ended_at=job.training.ended_at,
        # Of one that was completed it is its last step; of any other only its events tell.
        last_iteration=job.training.current_step if job.status is Status.COMPLETED else None,
        tenures=(),
        totals=Totals(),
    )


class Directory:
    """Finds jobs: in the projection, else by asking the jobs service, because events may lag."""

    def __init__(self, stored: KnownJobs, bus: Bus) -> None:
        self._stored = stored
        self._bus = bus

    async def find(self, uid: str) -> KnownJob:
        """The job.

        Raises:
            NotFound: there is none. Unavailable: it cannot be told.
        """
        known = await self._stored.known(uid)
        if known is not None:
            return known
        return from_job(await self._bus.request(JOB_GET, GetJob(uid=uid), timeout=ASKING_SECONDS))

    async def focus(self, uid: str | None) -> KnownJob | None:
        """The job named, else the job started last, else None."""
        return await self._stored.started_last() if uid is None else await self.find(uid)

    async def mode(self) -> TrainingMode:
        """The training mode of new jobs, which the jobs service keeps.

        Raises:
            Unavailable: it does not answer.
        """
        return (await self._bus.request(MODE_GET, GetMode(), timeout=ASKING_SECONDS)).mode
