"""What a person may ask of a job: start, pause, resume, cancel, another priority or deadline."""

from tunedeck_chassis.mongo import Document
from tunedeck_contracts.errors import Conflict, NotFound
from tunedeck_contracts.ids import checked_id
from tunedeck_contracts.job_changes import JobChanges
from tunedeck_contracts.jobs import PAST, Job, Status, Wanted
from tunedeck_jobs.creation import check_deadline, references
from tunedeck_jobs.lifecycle import Change
from tunedeck_jobs.record import JobRecord
from tunedeck_jobs.relay import Relay
from tunedeck_jobs.repository.documents import literal, pins
from tunedeck_jobs.repository.jobs import JobRepository
from tunedeck_jobs.resolving import Resolver


class Steering:
    """What waits changes at once; a running job's trainer learns it with its next beat.

    Each method answers with the job after the change, and raises NotFound where there is no such job.
    """

    def __init__(self, repository: JobRepository, resolver: Resolver, relay: Relay) -> None:
        self._repository = repository
        self._resolver = resolver
        self._relay = relay

    async def start(self, uid: str) -> Job:
        """Queue a created job whose model and dataset resolve now.

        Raises:
            Conflict: they do not, or the job is not created any more, or its deadline is over.
            Unavailable: the catalog could not be asked.
        """
        job = (await self._record(uid)).job
        if job.status is not Status.CREATED:
            raise _not_created(job)
        model, dataset = job.configuration.model, job.configuration.dataset
        found = await self._resolver.resolve(model.uid, dataset.uid, model.revision)
        if found.pinned is None:
            await self._repository.set_problems(uid, found.problems)
            raise found.refusal(f"Job {uid!r} cannot be started")
        model, dataset = references(model, dataset, found)
        fields: Document = {
            "pinned": literal(pins(found.pinned)),
            "problems": literal([]),
            "configuration.model": literal(model.model_dump(by_alias=False)),
            "configuration.dataset": literal(dataset.model_dump(by_alias=False)),
        }
        started = await self._changed(uid, Change.QUEUE, fields)
        if started is None:
            raise _not_created((await self._record(uid)).job)
        return started

    async def pause(self, uid: str) -> Job:
        """Have a running job stop at its next step boundary, with a checkpoint.

        Raises:
            Conflict: it does not run, or is being cancelled.
        """
        paused = await self._changed(uid, Change.WANT_PAUSE)
        if paused is not None:
            return paused
        job = (await self._record(uid)).job
        if job.status is Status.PAUSED or (job.status is Status.RUNNING and job.wanted is Wanted.PAUSE):
            return job
        raise Conflict(f"Job {uid!r} {_is(job)}; only a running job can be paused.")

    async def resume(self, uid: str) -> Job:
        """Queue a paused job again; of a running one, take the pause back that it has not reached yet.

        Raises:
            Conflict: it is not paused, or its deadline is over.
        """
        # It may reach the pause between the two tries: then the first is right.
        for change in (Change.RESUME, Change.WITHDRAW_PAUSE, Change.RESUME):
            resumed = await self._changed(uid, change)
            if resumed is not None:
                return resumed
        job = (await self._record(uid)).job
        over = " and its deadline is over" if job.status is Status.PAUSED else ""
        raise Conflict(f"Job {uid!r} {_is(job)}{over}; only a paused job before its deadline can be resumed.")

    async def cancel(self, uid: str) -> Job:
        """Cancel at once what waits; have what runs stop at its next step boundary.

        Raises:
            Conflict: the job has ended.
        """
        # A job may change hands between the two attempts; its next state is then looked at anew.
        while (job := (await self._record(uid)).job).status not in PAST:
            if job.wanted is Wanted.CANCEL:
                return job
            for change in (Change.CANCEL_WAITING, Change.WANT_CANCEL):
                cancelled = await self._changed(uid, change)
                if cancelled is not None:
                    return cancelled
        raise Conflict(f"Job {uid!r} has ended as {job.status.value}; there is nothing to cancel.")

    async def change(self, uid: str, changes: JobChanges) -> Job:
        """Another priority or deadline.

        Raises:
            Conflict: the job has ended. ValidationFailed: the deadline is over already.
        """
        named = changes.model_dump(exclude_unset=True)
        check_deadline(changes.deadline, "deadline")
        fields = {name: literal(value) for name, value in named.items()}
        changed = await self._changed(uid, Change.RESCHEDULE, fields)
        if changed is None:
            job = (await self._record(uid)).job
            raise Conflict(f"Job {uid!r} {_is(job)}; priority and deadline are of a job that has not ended.")
        return changed

    async def _changed(self, uid: str, change: Change, fields: Document | None = None) -> Job | None:
        record = await self._repository.apply(checked_id("job", uid), change, set_fields=fields)
        if record is None:
            return None
        self._relay.kick()
        return record.job

    async def _record(self, uid: str) -> JobRecord:
        record = await self._repository.get(checked_id("job", uid))
        if record is None:
            raise NotFound(f"There is no job {uid!r}.")
        return record


def _is(job: Job) -> str:
    if job.status in PAST:
        return f"has ended as {job.status.value}"
    is_being_cancelled = job.status is Status.RUNNING and job.wanted is Wanted.CANCEL
    return "is being cancelled" if is_being_cancelled else f"is {job.status.value}"


def _not_created(job: Job) -> Conflict:
    if job.status is Status.CREATED:
        return Conflict(f"The deadline of job {job.uid!r} is over; give it another one first.")
    return Conflict(f"Job {job.uid!r} is {job.status.value}; only a created job can be started.")
