"""The way of completed jobs' files to the Hub: a person wants it, a trainer does it and says how it went."""

import structlog

from tunedeck_contracts.errors import Conflict, FieldProblem, NotFound, ValidationFailed
from tunedeck_contracts.ids import checked_id
from tunedeck_contracts.jobs import Job, Status
from tunedeck_contracts.model_saving import (
    ClaimPush,
    PushClaimed,
    PushOptions,
    PushWork,
    ReportPush,
    is_repository_name,
)
from tunedeck_jobs.repository.jobs import JobRepository
from tunedeck_jobs.repository.pushes import PushRepository

log = structlog.get_logger()


class Pushes:
    """A push changes no job's state, so that none that fails costs the job anything."""

    def __init__(self, repository: JobRepository, pushes: PushRepository) -> None:
        self._repository = repository
        self._pushes = pushes

    async def want(self, uid: str, options: PushOptions) -> Job:
        """Have a completed job's files sent to the Hub, for the first time or again.

        Raises:
            NotFound: no such job.
            Conflict: it has not completed, has no files, or they are being sent.
            ValidationFailed: the repository has no name that the Hub takes.
        """
        record = await self._repository.get(checked_id("job", uid))
        if record is None:
            raise NotFound(f"There is no job {uid!r}.")
        job = record.job
        if job.status is not Status.COMPLETED or not job.artifacts:
            has = f"is {job.status.value}" if job.status is not Status.COMPLETED else "has kept no files"
            raise Conflict(f"Job {uid!r} {has}; only a completed job with files can be pushed to the Hub.")
        named = job.model_saving.model_name if options.model_name is None else options.model_name
        public = job.model_saving.make_public if options.make_public is None else options.make_public
        if not is_repository_name(named):
            sentence = (
                f"modelName: {named!r} is no name of a repository on the Hub; send one like "
                '{"modelName": "owner/name"}.'
            )
            raise ValidationFailed(sentence, [FieldProblem(loc="modelName", message=sentence)])
        wanted = await self._pushes.want(uid, named, public)
        if wanted is None:
            raise Conflict(
                f"The files of job {uid!r} are being sent to the Hub now; wait until that has ended."
            )
        return wanted.job

    async def claim(self, claim: ClaimPush) -> PushClaimed:
        """The next files to send, or nothing."""
        found = await self._pushes.claim(claim.worker, claim.seconds)
        if found is None:
            return PushClaimed()
        record, number = found
        push = record.job.hub_push
        assert push is not None
        return PushClaimed(
            work=PushWork(
                job_uid=record.job.uid,
                claim=number,
                repository=push.repository,
                public=push.public,
                files=list(record.stored_artifacts),
            )
        )

    async def report(self, report: ReportPush) -> None:
        """Keep how a push ended; one that another trainer has taken over since is not heard."""
        if not await self._pushes.report(report.job_uid, report.claim, report.push):
            log.warning("push_report_too_late", job=report.job_uid, claim=report.claim)
