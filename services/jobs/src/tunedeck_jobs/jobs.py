"""What clients may ask of one job: create, read, start, cancel, take a file."""

import hashlib
import json

from tunedeck_contracts.errors import Conflict, FieldProblem, NotFound, Unavailable
from tunedeck_contracts.ids import checked_id, new_job_uid
from tunedeck_contracts.jobs import (
    PAST,
    ArtifactLocation,
    Configuration,
    CreateJob,
    Job,
    JobCreated,
    JobHyperparameters,
    Reference,
    Status,
    SubmitJob,
    TrainingMode,
    TrainingProgress,
    Wanted,
)
from tunedeck_contracts.message import utc_now
from tunedeck_jobs.hyperparameter_choice import choose
from tunedeck_jobs.lifecycle import Change
from tunedeck_jobs.record import JobRecord, KeyTaken, Submission
from tunedeck_jobs.relay import Relay
from tunedeck_jobs.repository.documents import literal, pins
from tunedeck_jobs.repository.jobs import JobRepository
from tunedeck_jobs.repository.mode import ModeRepository
from tunedeck_jobs.resolving import Resolution, Resolver

NO_SEARCH = "The search over hyperparameters is not built yet: this job trains its given set once."


class Jobs:
    """The clients' side of the jobs service."""

    def __init__(
        self, repository: JobRepository, modes: ModeRepository, resolver: Resolver, relay: Relay
    ) -> None:
        self._repository = repository
        self._modes = modes
        self._resolver = resolver
        self._relay = relay

    async def create(self, request: SubmitJob) -> JobCreated:
        """Store a job; queue it in the same write when its model and dataset resolve.

        A request with a key that has made a job creates nothing and gets the first answer.

        Raises:
            ValidationFailed: a hyperparameter is out of bounds.
            Conflict: the key came with another body before.
        """
        wanted, submission = request.job, _submission(request)
        if submission is not None and (first := await self._first_answer(submission)) is not None:
            return first
        settings, notes = choose(wanted.configuration.hyperparameters)
        mode = wanted.training_mode or await self._modes.get()
        if mode is TrainingMode.AUTOMATED:
            notes.append(NO_SEARCH)
        found = await self._resolver.resolve(wanted.configuration.model.uid, wanted.configuration.dataset.uid)
        job = _new_job(wanted, settings, mode, found)
        pinned = found.pinned if wanted.start else None
        try:
            record = await self._repository.insert(job, notes, pinned, submission)
        except KeyTaken:
            assert submission is not None
            if (first := await self._first_answer(submission)) is not None:
                return first
            raise Conflict("The job that this Idempotency-Key made was just deleted; take another.") from None
        self._relay.kick()
        return _created(record.job)

    async def _first_answer(self, submission: Submission) -> JobCreated | None:
        first = await self._repository.submitted(submission.owner, submission.key)
        if first is None:
            return None
        if first.body_sha256 != submission.body_sha256:
            raise Conflict(
                f"The Idempotency-Key {submission.key!r} has made job {first.job.uid!r} from another body; "
                "send a new key with a new request."
            )
        return _created(first.job)

    async def get(self, uid: str) -> Job:
        """One job.

        Raises:
            NotFound: there is none with this uid.
        """
        return (await self._record(uid)).job

    async def start(self, uid: str) -> Job:
        """Queue a created job whose model and dataset resolve now.

        Raises:
            NotFound. Conflict: they do not, or the job is not created any more.
            Unavailable: the catalog could not be asked.
        """
        job = (await self._record(uid)).job
        if job.status is not Status.CREATED:
            raise _not_created(job)
        model, dataset = job.configuration.model, job.configuration.dataset
        found = await self._resolver.resolve(model.uid, dataset.uid)
        if found.pinned is None:
            await self._repository.set_problems(uid, found.problems)
            sentence = f"Job {uid!r} cannot be started: {' '.join(found.problems)}"
            problems = [FieldProblem(loc="problems", message=one) for one in found.problems]
            raise (Unavailable if found.is_unavailable else Conflict)(sentence, problems)
        model, dataset = _references(model, dataset, found)
        record = await self._repository.apply(
            uid,
            Change.QUEUE,
            set_fields={
                "pinned": literal(pins(found.pinned)),
                "problems": literal([]),
                "configuration.model": literal(model.model_dump(by_alias=False)),
                "configuration.dataset": literal(dataset.model_dump(by_alias=False)),
            },
        )
        if record is None:
            raise _not_created((await self._record(uid)).job)
        self._relay.kick()
        return record.job

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


def _submission(request: SubmitJob) -> Submission | None:
    if request.idempotency_key is None:
        return None
    # What is not a field of a job is no part of the body: it is not stored either.
    body = json.dumps(request.job.model_dump(mode="json"), sort_keys=True)
    return Submission(request.owner, request.idempotency_key, hashlib.sha256(body.encode()).hexdigest())


def _created(job: Job) -> JobCreated:
    return JobCreated(message="Finetuning job created successfully", job_uid=job.uid, job=job)


def _not_created(job: Job) -> Conflict:
    return Conflict(f"Job {job.uid!r} is {job.status.value}; only a created job can be started.")


def _references(model: Reference, dataset: Reference, found: Resolution) -> tuple[Reference, Reference]:
    """What the job names, with the names and the dataset's uid that were found."""
    if found.model is not None:
        model = Reference(uid=model.uid, name=model.name or found.model.name)
    if found.dataset is not None:
        dataset = Reference(uid=found.dataset.uid, name=dataset.name or found.dataset.name)
    return model, dataset


def _new_job(request: CreateJob, settings: JobHyperparameters, mode: TrainingMode, found: Resolution) -> Job:
    now = utc_now()
    model, dataset = _references(request.configuration.model, request.configuration.dataset, found)
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
        training_mode=mode,
        problems=list(found.problems),
        wanted=Wanted.RUN,
        rev=0,
        attempt=0,
    )
