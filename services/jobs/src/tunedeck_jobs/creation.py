"""How jobs come to be: sent by a client, or made of a job that failed or was cancelled."""

import hashlib
import json
from datetime import datetime
from typing import Any

from tunedeck_chassis.crash_points import reached
from tunedeck_contracts.checkpoints import Checkpoint
from tunedeck_contracts.errors import Conflict, FieldProblem, NotFound, ValidationFailed
from tunedeck_contracts.hyperparameters import unheeded
from tunedeck_contracts.ids import checked_id, new_job_uid
from tunedeck_contracts.job_changes import RetryJob
from tunedeck_contracts.jobs import (
    Configuration,
    CreateJob,
    Job,
    JobCreated,
    JobHyperparameters,
    ModelReference,
    Reference,
    Status,
    SubmitJob,
    TrainingMode,
    TrainingProgress,
    Wanted,
)
from tunedeck_contracts.message import utc_now
from tunedeck_jobs.devices import Devices
from tunedeck_jobs.hyperparameter_choice import check_saving, choose, unheeded_saving
from tunedeck_jobs.lifecycle import Change
from tunedeck_jobs.record import JobRecord, KeyTaken, NewJob, Submission
from tunedeck_jobs.relay import Relay
from tunedeck_jobs.repository.jobs import JobRepository
from tunedeck_jobs.repository.mode import ModeRepository
from tunedeck_jobs.resolving import Resolution, Resolver

NO_SEARCH = "The search over hyperparameters is not built yet: this job trains its given set once."
RETRIED = (Status.FAILED, Status.CANCELLED)


class Creation:
    """Both ways queue the job in the same write when its model and dataset resolve."""

    def __init__(
        self,
        repository: JobRepository,
        modes: ModeRepository,
        devices: Devices,
        resolver: Resolver,
        relay: Relay,
    ) -> None:
        self._repository = repository
        self._modes = modes
        self._devices = devices
        self._resolver = resolver
        self._relay = relay

    async def create(self, request: SubmitJob) -> JobCreated:
        """Store what a client has sent.

        A request with a key that has made a job creates nothing and gets the first answer.

        Raises:
            ValidationFailed: a hyperparameter is out of bounds, the method cannot be had on the device, or
                the deadline is over.
            Conflict: the key came with another body before, or no trainer has the GPU that the method needs.
        """
        wanted = request.job
        submission = _submission(request.owner, request.idempotency_key, wanted.model_dump(mode="json"))
        if submission is not None and (first := await self._first_answer(submission)) is not None:
            return first
        check_deadline(wanted.deadline, "deadline")
        settings, notes = choose(wanted.configuration.hyperparameters)
        check_saving(wanted.model_saving, settings)
        device = await self._devices.wanted(wanted.device, settings)
        wanted = wanted.model_copy(update={"device": device})
        mode = wanted.training_mode or await self._modes.get()
        found = await self._resolve(wanted.configuration.model, wanted.configuration.dataset)
        job = _new_job(wanted, settings, mode, found)
        pinned = found.pinned if wanted.start else None
        notes += [*unheeded_saving(wanted.model_saving, settings, wanted.stop_after_steps), *_about(mode)]
        return await self._stored(NewJob(job, tuple(notes), pinned, submission))

    async def retry(self, request: RetryJob) -> JobCreated:
        """Store another job with what this one had; a checkpoint is gone on from only with the same pins.

        Raises:
            NotFound: no such job, or no such checkpoint of it.
            Conflict: it has not failed and was not cancelled; its model or dataset is not what it was.
        """
        options = request.options
        body = {"retry_of": request.uid, **options.model_dump(mode="json")}
        submission = _submission(request.owner, request.idempotency_key, body)
        if submission is not None and (first := await self._first_answer(submission)) is not None:
            return first
        record = await self._retried(request.uid)
        checkpoint = _checkpoint(record, options.from_checkpoint)
        configuration = record.job.configuration
        found = await self._resolve(configuration.model, configuration.dataset)
        if checkpoint is not None and found.pinned != record.pinned:
            problems = " ".join(found.problems) or "one of them has changed."
            raise Conflict(
                f"Job {request.uid!r} cannot go on from step {checkpoint.step} without the model and "
                f"dataset that it had: {problems} Retry it from the start."
            )
        settings = configuration.hyperparameters
        former = record.job
        about_saving = unheeded_saving(former.model_saving, settings, former.stop_after_steps)
        notes = (*unheeded(settings), *about_saving, *_about(former.training_mode))
        new = NewJob(_again(former, found), notes, found.pinned, submission, checkpoint)
        created = await self._stored(new)
        if checkpoint is not None and await self._repository.get(request.uid) is None:
            # Its deletion looked for who needs the checkpoint, and may have looked before this job was there.
            for change in (Change.CANCEL_WAITING, Change.WANT_CANCEL):
                await self._repository.apply(created.job_uid, change)
            self._relay.kick()
            raise NotFound(f"Job {request.uid!r} was deleted meanwhile, and its checkpoints with it.")
        return created

    async def _resolve(self, model: ModelReference, dataset: Reference) -> Resolution:
        return await self._resolver.resolve(model.uid, dataset.uid, model.revision)

    async def _retried(self, uid: str) -> JobRecord:
        record = await self._repository.get(checked_id("job", uid))
        if record is None:
            raise NotFound(f"There is no job {uid!r}.")
        if record.job.status not in RETRIED:
            raise Conflict(
                f"Job {uid!r} is {record.job.status.value}; only a failed or cancelled job is tried again."
            )
        return record

    async def _stored(self, new: NewJob) -> JobCreated:
        try:
            record = await self._repository.insert(new)
        except KeyTaken:
            assert new.submission is not None
            if (first := await self._first_answer(new.submission)) is not None:
                return first
            raise Conflict("The job that this Idempotency-Key made was just deleted; take another.") from None
        reached("jobs.created")
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


def check_deadline(deadline: datetime | None, loc: str) -> None:
    """Refuse a deadline that is over.

    Raises:
        ValidationFailed: it is; `loc` names the field.
    """
    if deadline is not None and deadline <= utc_now():
        sentence = f"{loc}: {deadline.isoformat()} is over; name a time that is still to come, with its zone."
        raise ValidationFailed(sentence, [FieldProblem(loc=loc, message=sentence)])


def references(
    model: ModelReference, dataset: Reference, found: Resolution
) -> tuple[ModelReference, Reference]:
    """What the job names, with the names and the dataset's uid that were found."""
    if found.model is not None:
        model = model.model_copy(update={"name": model.name or found.model.name})
    if found.dataset is not None:
        dataset = Reference(uid=found.dataset.uid, name=dataset.name or found.dataset.name)
    return model, dataset


def _submission(owner: str, key: str | None, request: dict[str, Any]) -> Submission | None:
    if key is None:
        return None
    # What is not a field of a job is no part of the body: it is not stored either.
    body = json.dumps(request, sort_keys=True)
    return Submission(owner, key, hashlib.sha256(body.encode()).hexdigest())


def _about(mode: TrainingMode) -> list[str]:
    return [NO_SEARCH] if mode is TrainingMode.AUTOMATED else []


def _checkpoint(record: JobRecord, step: int | None) -> Checkpoint | None:
    """The checkpoint of this step, as another job's."""
    if step is None:
        return None
    for one in record.checkpoints:
        if one.step == step:
            return one.model_copy(update={"fence": 0})
    known = ", ".join(str(one.step) for one in record.checkpoints) or "none"
    raise NotFound(f"Job {record.job.uid!r} has no checkpoint of step {step}; it has: {known}.")


def _created(job: Job) -> JobCreated:
    return JobCreated(message="Finetuning job created successfully", job_uid=job.uid, job=job)


def _new_job(request: CreateJob, settings: JobHyperparameters, mode: TrainingMode, found: Resolution) -> Job:
    now = utc_now()
    model, dataset = references(request.configuration.model, request.configuration.dataset, found)
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
        training=_not_begun(settings),
        training_mode=mode,
        problems=list(found.problems),
        wanted=Wanted.RUN,
        rev=0,
        attempt=0,
        priority=request.priority,
        deadline=request.deadline,
        device=request.device,
        stop_after_steps=request.stop_after_steps,
    )


def _again(job: Job, found: Resolution) -> Job:
    """A new job of the same settings; the deadline was the old one's."""
    now = utc_now()
    fresh: dict[str, object] = {
        "uid": new_job_uid(),
        "status": Status.CREATED,
        "created_at": now,
        "last_modified": now,
        "training": _not_begun(job.configuration.hyperparameters),
        "problems": list(found.problems),
        "wanted": Wanted.RUN,
        "rev": 0,
        "attempt": 0,
        "deadline": None,
        "retry_of": job.uid,
        "failure": None,
    }
    return job.model_copy(update=fresh)


def _not_begun(settings: JobHyperparameters) -> TrainingProgress:
    return TrainingProgress(
        total_epochs=settings.epochs if settings.max_steps is None else 0,
        total_steps=settings.max_steps or 0,
    )
