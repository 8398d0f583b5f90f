"""What clients may ask of jobs: create, read, list, cancel."""

from tunedeck_contracts.errors import Conflict, NotFound
from tunedeck_contracts.ids import checked_id, new_job_uid
from tunedeck_contracts.jobs import (
    PAST,
    ArtifactLocation,
    Configuration,
    CreateJob,
    Job,
    JobCreated,
    JobHyperparameters,
    JobList,
    ListJobs,
    Reference,
    Status,
    TrainingProgress,
    Wanted,
)
from tunedeck_contracts.message import utc_now
from tunedeck_jobs.hyperparameter_choice import choose
from tunedeck_jobs.lifecycle import Change
from tunedeck_jobs.record import JobRecord, Pinned
from tunedeck_jobs.relay import Relay
from tunedeck_jobs.repository import JobRepository
from tunedeck_jobs.resolving import Resolver


class Jobs:
    """The clients' side of the jobs service."""

    def __init__(self, repository: JobRepository, resolver: Resolver, relay: Relay) -> None:
        self._repository = repository
        self._resolver = resolver
        self._relay = relay

    async def create(self, request: CreateJob) -> JobCreated:
        """Store a job; queue it in the same write when its model and dataset resolve.

        Raises:
            ValidationFailed: a hyperparameter is out of bounds.
        """
        settings, problems = choose(request.configuration.hyperparameters)
        pinned, missing = await self._resolver.resolve(
            request.configuration.model.uid, request.configuration.dataset.uid
        )
        job = _new_job(request, settings, pinned, [*missing, *problems])
        record = await self._repository.insert(job, pinned if request.start else None)
        self._relay.kick()
        return JobCreated(
            message="Finetuning job created successfully", job_uid=record.job.uid, job=record.job
        )

    async def get(self, uid: str) -> Job:
        """One job.

        Raises:
            NotFound: there is none with this uid.
        """
        return (await self._record(uid)).job

    async def list_jobs(self, request: ListJobs) -> JobList:
        """Jobs of some statuses, newest first, and the counts of all."""
        records = await self._repository.newest(request.statuses, request.limit)
        current, past = await self._repository.counts()
        return JobList(
            jobs=[record.job for record in records],
            total=current + past,
            current_count=current,
            past_count=past,
        )

    async def cancel(self, uid: str) -> Job:
        """Cancel at once what waits; tell a running job's trainer with its next beat.

        Raises:
            NotFound, Conflict: the job has ended.
        """
        # A job may change hands between the two attempts; its next state is then looked at anew.
        while (job := (await self._record(uid)).job).status not in PAST:
            if job.wanted is Wanted.CANCEL:
                return job
            changed = await self._cancel_waiting(uid) or await self._want_cancel(uid)
            if changed is not None:
                self._relay.kick()
                return changed.job
        raise Conflict(f"Job {uid!r} has ended as {job.status.value}; there is nothing to cancel.")

    async def _cancel_waiting(self, uid: str) -> JobRecord | None:
        fields = {"wanted": Wanted.CANCEL.value, "training.ended_at": "$$NOW"}
        return await self._repository.apply(uid, Change.CANCEL_WAITING, set_fields=fields)

    async def _want_cancel(self, uid: str) -> JobRecord | None:
        return await self._repository.apply(
            uid,
            Change.WANT_CANCEL,
            expect={"wanted": Wanted.RUN.value},
            set_fields={"wanted": Wanted.CANCEL.value},
        )

    async def locate_artifact(self, uid: str, path: str) -> ArtifactLocation:
        """Where one file of a completed job is.

        Raises:
            NotFound: no such job, or no such file of it.
        """
        record = await self._record(uid)
        for artifact in record.stored_artifacts:
            if artifact.path == path:
                return ArtifactLocation.model_validate(artifact.model_dump())
        raise NotFound(f"Job {uid!r} ({record.job.status.value}) has no artifact {path!r}.")

    async def _record(self, uid: str) -> JobRecord:
        record = await self._repository.get(checked_id("job", uid))
        if record is None:
            raise NotFound(f"There is no job {uid!r}.")
        return record


def _new_job(
    request: CreateJob, settings: JobHyperparameters, pinned: Pinned | None, problems: list[str]
) -> Job:
    now = utc_now()
    model, dataset = request.configuration.model, request.configuration.dataset
    if pinned is not None:
        model = Reference(uid=model.uid, name=model.name or pinned.model.name)
        dataset = Reference(uid=pinned.dataset.uid, name=dataset.name or pinned.dataset.name)
    return Job(
        uid=new_job_uid(),
        name=request.name,
        description=request.description,
        tags=request.tags,
        status=Status.CREATED,
        created_at=now,
        last_modified=now,
        configuration=Configuration(model=model, dataset=dataset, hyperparameters=settings),
        model_saving=request.model_saving,
        training=TrainingProgress(
            total_epochs=settings.epochs if settings.max_steps is None else 0,
            total_steps=settings.max_steps or 0,
        ),
        problems=problems,
        wanted=Wanted.RUN,
        rev=0,
        attempt=0,
    )
