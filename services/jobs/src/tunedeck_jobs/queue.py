"""What trainers may ask: claim a job, say that it lives, report its end.

The protocol of design.md section 4. The fence is raised by every claim and
every lost lease, so that a trainer that was replaced can change nothing.
"""

import contextlib

from tunedeck_chassis.blobs import ORPHAN_AGE, BlobStore
from tunedeck_chassis.mongo import Document
from tunedeck_contracts.errors import Fenced, NotFound
from tunedeck_contracts.failures import FailureCode, failure
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.jobs import Wanted
from tunedeck_contracts.runs import Beat, BeatReply, Claim, Claimed, Outcome, Report, Run
from tunedeck_jobs.lifecycle import Change
from tunedeck_jobs.record import JobRecord
from tunedeck_jobs.relay import Relay
from tunedeck_jobs.repository.documents import literal
from tunedeck_jobs.repository.jobs import JobRepository
from tunedeck_jobs.settings import JobsSettings

LOST_WORKER = failure(FailureCode.LOST_WORKER)


class Queue:
    """The trainers' side of the jobs service."""

    def __init__(
        self, repository: JobRepository, blobs: BlobStore, relay: Relay, settings: JobsSettings
    ) -> None:
        self._repository = repository
        self._blobs = blobs
        self._relay = relay
        self._settings = settings

    async def claim(self, claim: Claim) -> Claimed:
        """The oldest queued job, or nothing. The same claim gets the same run again."""
        record = await self._repository.claimed_before(claim.claim_id)
        if record is None:
            record = await self._repository.claim(claim.worker, claim.claim_id, self._settings.lease_seconds)
            self._relay.kick()
        return Claimed(run=self._run(record) if record else None)

    async def beat(self, beat: Beat) -> BeatReply:
        """Renew the lease; say what a person wants.

        Raises:
            Fenced: the job is not this run's any more.
        """
        record = await self._repository.beat(beat, self._settings.lease_seconds)
        if record is None:
            raise _fenced(beat.job_uid, beat.fence)
        return BeatReply(wanted=record.job.wanted)

    async def report(self, report: Report) -> None:
        """Store how the run ended. A job that a person cancelled never becomes completed.

        Raises:
            Fenced: the job is not this run's any more. NotFound: its files have expired.
        """
        if await self._repository.reported(report.job_uid, report.fence):
            return
        # A cancel may arrive between the two writes of an end; the second look sees it.
        record = await self._end(report) or await self._end(report)
        if record is None and not await self._repository.reported(report.job_uid, report.fence):
            raise _fenced(report.job_uid, report.fence)
        self._relay.kick()

    async def lose(self, record: JobRecord, expect: Document) -> JobRecord | None:
        """The worker of a run is gone: cancelled if that was wanted, else queued again, up to the limit."""
        expect = {"fence": record.fence, **expect}
        raised: Document = {"fence": {"$add": ["$fence", 1]}, "lease": None}
        uid = record.job.uid
        cancelled = await self._repository.apply(
            uid,
            Change.CANCEL_RUNNING,
            expect={**expect, "wanted": Wanted.CANCEL.value},
            set_fields={**raised, **_ended()},
        )
        if cancelled is not None:
            return cancelled
        expect = {**expect, "wanted": Wanted.RUN.value}
        if record.job.attempt >= self._settings.max_attempts:
            fields = {**raised, **_ended(), "failure": literal(LOST_WORKER.model_dump())}
            return await self._repository.apply(uid, Change.FAIL, expect=expect, set_fields=fields)
        return await self._repository.apply(
            uid, Change.REQUEUE, expect=expect, set_fields={**raised, "training.phase": None}
        )

    async def _end(self, report: Report) -> JobRecord | None:
        ending: Document = {
            **_ended(),
            "lease": None,
            "reported_fence": report.fence,
            "last_iteration": report.last_iteration,
        }
        expect: Document = {"fence": report.fence}
        if report.outcome is Outcome.LOST:
            record = await self._repository.get(report.job_uid)
            return await self.lose(record, expect) if record and record.fence == report.fence else None
        cancelled = await self._repository.apply(
            report.job_uid,
            Change.CANCEL_RUNNING,
            expect=expect
            if report.outcome is Outcome.CANCELLED
            else {**expect, "wanted": Wanted.CANCEL.value},
            set_fields=ending,
        )
        if cancelled is not None:
            return cancelled
        if report.outcome is Outcome.FAILED:
            told = report.failure.model_dump() if report.failure else None
            fields = {**ending, "failure": literal(told)}
            return await self._repository.apply(report.job_uid, Change.FAIL, expect=expect, set_fields=fields)
        return await self._complete(report, expect, ending)

    async def _complete(self, report: Report, expect: Document, ending: Document) -> JobRecord | None:
        fields: Document = {
            **ending,
            "training.progress": 100.0,
            # A run may end early, and its last beat may be older than its last step.
            "training.current_step": report.last_iteration,
            "training.total_steps": report.last_iteration,
            "result": literal(report.result.model_dump(by_alias=False) if report.result else None),
            "artifacts": literal([artifact.model_dump() for artifact in report.artifacts]),
        }
        expect = {**expect, "wanted": Wanted.RUN.value}
        # Kept before the job names them: a completed job has its files. The other way round they expire.
        for artifact in report.artifacts:
            await self._blobs.keep(artifact.blob_id)
        record = await self._repository.apply(
            report.job_uid, Change.COMPLETE, expect=expect, set_fields=fields
        )
        # The same report may have come twice at once, and the other one have completed the job.
        if record is None and not await self._repository.reported(report.job_uid, report.fence):
            for artifact in report.artifacts:
                with contextlib.suppress(NotFound):
                    await self._blobs.keep(artifact.blob_id, ORPHAN_AGE)
        return record

    def _run(self, record: JobRecord) -> Run:
        job = record.job
        if record.pinned is None:
            raise AssertionError(f"job {job.uid} is queued without its pins")
        settings = job.configuration.hyperparameters
        return Run(
            job_uid=job.uid,
            job_name=job.name,
            fence=record.fence,
            attempt=job.attempt,
            training_mode=job.training_mode,
            model=record.pinned.model,
            dataset=record.pinned.dataset,
            hyperparameters=Hyperparameters.model_validate(settings.model_dump()),
            model_saving=job.model_saving,
            lease_seconds=self._settings.lease_seconds,
            beat_seconds=self._settings.beat_seconds,
        )


def _ended() -> Document:
    return {"training.ended_at": "$$NOW", "training.phase": None}


def _fenced(uid: str, fence: int) -> Fenced:
    return Fenced(f"Job {uid!r} is not run {fence}'s any more: stop, and drop what is left of it.")
