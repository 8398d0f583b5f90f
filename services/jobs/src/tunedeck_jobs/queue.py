"""What trainers may ask: claim a job, say that it lives, report its end.

The fence is raised by every claim and
every lost lease, so that a trainer that was replaced can change nothing.
"""

import contextlib

from tunedeck_chassis.blobs import ORPHAN_AGE, BlobStore
from tunedeck_chassis.crash_points import reached
from tunedeck_chassis.mongo import Document
from tunedeck_contracts.errors import Fenced, NotFound
from tunedeck_contracts.estimates import Probed
from tunedeck_contracts.failures import FailureCode, failure
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.jobs import Status
from tunedeck_contracts.runs import Beat, BeatReply, Claim, Claimed, Outcome, Report, Run
from tunedeck_jobs.forecast import kinds
from tunedeck_jobs.lifecycle import RULES, Change, Facts, Guard
from tunedeck_jobs.record import JobRecord
from tunedeck_jobs.relay import Relay
from tunedeck_jobs.repository.documents import adjusted, last_lines, literal, predicted
from tunedeck_jobs.repository.jobs import JobRepository
from tunedeck_jobs.repository.trainers import TrainerRepository
from tunedeck_jobs.settings import JobsSettings

ENDS: dict[Outcome, tuple[Change, ...]] = {
    Outcome.COMPLETED: (Change.CANCEL_RUNNING, Change.COMPLETE),
    Outcome.FAILED: (Change.CANCEL_RUNNING, Change.FAIL),
    Outcome.CANCELLED: (Change.CANCEL_RUNNING,),
    # A pause that was withdrawn meanwhile: the job waits for a trainer again.
    Outcome.PAUSED: (Change.CANCEL_RUNNING, Change.PAUSE, Change.YIELD),
    Outcome.LOST: (Change.CANCEL_RUNNING, Change.PAUSE, Change.REQUEUE, Change.GIVE_UP),
}
"""What a run's end may do to its job: the first whose guards hold, so that what a person wants goes first."""

MOST_RESTS = 10
"""A job that may be lost very often does not rest longer and longer."""

LOOKS = 3
"""What a person wants may change between two tries of a report; the next look sees it."""


class Queue:
    """The trainers' side of the jobs service."""

    def __init__(
        self,
        repository: JobRepository,
        trainers: TrainerRepository,
        blobs: BlobStore,
        relay: Relay,
        settings: JobsSettings,
    ) -> None:
        self._repository = repository
        self._trainers = trainers
        self._blobs = blobs
        self._relay = relay
        self._settings = settings

    async def claim(self, claim: Claim) -> Claimed:
        """The first queued job for these devices, or nothing. The same claim gets the same run again."""
        record = await self._repository.claimed_before(claim.claim_id)
        if record is None:
            await self._trainers.heard_of(claim.worker, claim.devices)
            facts = Facts(devices=kinds(claim.devices))
            record = await self._repository.claim(claim, facts, self._settings.lease_seconds)
            reached("jobs.claimed")
            self._relay.kick()
        return Claimed(run=self._run(record) if record else None)

    async def beat(self, beat: Beat) -> BeatReply:
        """Renew the lease; say what a person wants.

        Raises:
            Fenced: the job is not this run's any more.
        """
        record = await self._repository.beat(beat, self._settings.lease_seconds)
        if record is None:
            await self.expire(beat.job_uid)
            raise _fenced(beat.job_uid, beat.fence)
        await self._adjust(record, beat.fence, beat.probed)
        if beat.resume_iteration is not None and beat.resume_iteration < record.resume_step:
            await self._fall_back(beat, beat.resume_iteration)
        return BeatReply(wanted=record.job.wanted)

    async def report(self, report: Report) -> None:
        """Store how the run ended. A job that a person cancelled never becomes completed.

        Raises:
            Fenced: the job is not this run's any more. NotFound: its files have expired.
        """
        uid, fence = report.job_uid, report.fence
        if report.probed is not None and (record := await self._repository.get(uid)) is not None:
            await self._adjust(record, fence, report.probed)
        for _ in range(LOOKS):
            if await self._repository.reported(report) or await self._end(report) is not None:
                reached("jobs.reported")
                self._relay.kick()
                return
        raise _fenced(uid, fence)

    async def lose(self, record: JobRecord) -> JobRecord | None:
        """A run's lease is over: what a person wants, else queued again, up to the limit; else None."""
        for change in ENDS[Outcome.LOST]:
            facts = Facts(fence=record.fence, most_lost=self._settings.max_attempts)
            uid = record.job.uid
            lost = await self._repository.apply(
                uid, change, facts, Guard.LEASE_OVER, set_fields=self._rest(change), raise_fence=True
            )
            if lost is not None:
                reached("jobs.lost")
                return lost
        return None

    async def expire(self, uid: str) -> JobRecord | None:
        """Fail a job whose deadline is over; its trainer is fenced out. None while it is not."""
        record = await self._repository.apply(uid, Change.EXPIRE)
        if record is not None:
            self._relay.kick()
        return record

    async def _fall_back(self, beat: Beat, resume_iteration: int) -> None:
        facts = Facts(fence=beat.fence, resume_iteration=resume_iteration)
        fields: Document = {"resume_step": resume_iteration}
        await self._repository.apply(beat.job_uid, Change.FALL_BACK, facts, set_fields=fields)
        self._relay.kick()

    async def _adjust(self, record: JobRecord, fence: int, probed: Probed | None) -> None:
        """Keep that the batches did not fit as asked for, or as an earlier attempt had split them."""
        if probed is None or probed.split is None:
            return
        known = record.job.batch_split
        if known is not None and not probed.split.is_finer_than(known):
            return
        facts = Facts(fence=fence, split=probed.split)
        await self._repository.apply(record.job.uid, Change.ADJUST, facts, set_fields=adjusted(probed))
        self._relay.kick()

    async def _end(self, report: Report) -> JobRecord | None:
        facts = Facts(fence=report.fence, most_lost=self._settings.max_attempts)
        for change in ENDS[report.outcome]:
            keeps_files = change is Change.COMPLETE
            if keeps_files:
                # Before the job names them: a completed job has its files. The other way round they expire.
                await self._keep(report)
            record = await self._repository.apply(
                report.job_uid,
                change,
                facts,
                set_fields=_told(report, change) | self._rest(change),
                raise_fence=report.outcome is Outcome.LOST,
            )
            if record is not None:
                return record
            # The same report may have come twice at once, and the other one have completed the job.
            if keeps_files and not await self._repository.reported(report):
                await self._let_expire(report)
        return None

    def _rest(self, change: Change) -> Document:
        """When a lost job may be claimed again: the longer, the more often it was lost before."""
        if change is not Change.REQUEUE:
            return {}
        rests = {"$min": ["$lost", MOST_RESTS]}
        rest = {"$multiply": [int(self._settings.lost_rest_seconds * 1000), rests]}
        return {"not_before": {"$add": ["$$NOW", rest]}}

    async def _keep(self, report: Report) -> None:
        for artifact in report.artifacts:
            await self._blobs.keep(artifact.blob_id)

    async def _let_expire(self, report: Report) -> None:
        for artifact in report.artifacts:
            with contextlib.suppress(NotFound):
                await self._blobs.keep(artifact.blob_id, ORPHAN_AGE)

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
            checkpoints=list(record.checkpoints),
            device=job.device,
            probed=record.probed,
            stop_after_steps=job.stop_after_steps,
        )


def _told(report: Report, change: Change) -> Document:
    """What a report says, as far as the change is told by it."""
    fields: Document = {"reported_fence": report.fence, "reported_outcome": report.outcome.value}
    fields |= predicted(report.probed) | last_lines(report.log)
    if RULES[change].target in (Status.COMPLETED, Status.FAILED, Status.CANCELLED):
        fields["last_iteration"] = report.last_iteration
    told = report.failure or (failure(FailureCode.CRASH) if change is Change.FAIL else None)
    if told is not None and change in (Change.FAIL, Change.GIVE_UP):
        fields["failure"] = literal(told.model_dump(mode="json"))
    if change is Change.COMPLETE:
        fields |= {
            "training.progress": 100.0,
            # A run may end early, and its last beat may be older than its last step.
            "training.current_step": report.last_iteration,
            "training.total_steps": report.last_iteration,
            "result": literal(report.result.model_dump(by_alias=False) if report.result else None),
            "artifacts": literal([artifact.model_dump() for artifact in report.artifacts]),
        }
    return fields


def _fenced(uid: str, fence: int) -> Fenced:
    return Fenced(f"Job {uid!r} is not run {fence}'s any more: stop, and drop what is left of it.")
