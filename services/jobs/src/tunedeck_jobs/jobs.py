"""What clients may ask about one job: itself, its events, its checkpoints, a file."""

from tunedeck_contracts.checkpoints import CheckpointList
from tunedeck_contracts.errors import NotFound
from tunedeck_contracts.ids import checked_id
from tunedeck_contracts.job_changes import JobEventList
from tunedeck_contracts.jobs import PAST, Job, Status
from tunedeck_contracts.message import utc_now
from tunedeck_contracts.model_saving import ArtifactLocation
from tunedeck_jobs.checkpoints import best_of
from tunedeck_jobs.forecast import Standing, standings
from tunedeck_jobs.record import JobRecord
from tunedeck_jobs.repository.jobs import JobRepository
from tunedeck_jobs.repository.trainers import TrainerRepository


class Jobs:
    """Reads one job. Each method raises NotFound where there is no job with this uid."""

    def __init__(self, repository: JobRepository, trainers: TrainerRepository) -> None:
        self._repository = repository
        self._trainers = trainers

    async def get(self, uid: str) -> Job:
        """One job: with its place while it is queued, with its last log lines when it has ended."""
        job = (await self._record(uid)).job
        if job.status is Status.QUEUED:
            standing = standings(await self._trainers.line(), utc_now()).get(uid)
            return with_standing(job, standing)
        if job.status in PAST:
            return job.model_copy(update={"log": await self._repository.last_lines(uid)})
        return job

    async def events(self, uid: str) -> JobEventList:
        """What happened to the job."""
        events = await self._repository.events(checked_id("job", uid))
        if events is None:
            raise _no_job(uid)
        return JobEventList(events=events)

    async def checkpoints(self, uid: str) -> CheckpointList:
        """What it can be resumed or retried from."""
        checkpoints = list((await self._record(uid)).checkpoints)
        best = best_of(checkpoints)
        return CheckpointList(checkpoints=checkpoints, best_step=best.step if best is not None else None)

    async def locate_artifact(self, uid: str, path: str) -> ArtifactLocation:
        """Where one file of a completed job is; NotFound where it has no such file."""
        record = await self._record(uid)
        for artifact in record.stored_artifacts:
            if artifact.path == path:
                return ArtifactLocation.model_validate(artifact.model_dump())
        raise NotFound(f"Job {uid!r} ({record.job.status.value}) has no artifact {path!r}.")

    async def _record(self, uid: str) -> JobRecord:
        record = await self._repository.get(checked_id("job", uid))
        if record is None:
            raise _no_job(uid)
        return record


def with_standing(job: Job, standing: Standing | None) -> Job:
    """A queued job with its place; None of one that was claimed while the queue was read."""
    if standing is None:
        return job
    return job.model_copy(
        update={
            "queue_position": standing.position,
            "expected_start": standing.expected_start,
            "problems": [*job.problems, *([standing.problem] if standing.problem else [])],
        }
    )


def _no_job(uid: str) -> NotFound:
    return NotFound(f"There is no job {uid!r}.")
