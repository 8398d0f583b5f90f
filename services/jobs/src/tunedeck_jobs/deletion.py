"""Removes a job with all that belongs to it, in steps that a crash may part.

The first step is the change of the job's document: from then on nobody sees
the job. Telemetry removes points and logs when asked, and again when the event
of the deletion reaches it. The files go next, and the document last, when the
stream has its events. Each step may be done twice; the sweep does what a crash
has left.
"""

import asyncio

import structlog
from pymongo.errors import PyMongoError

from tunedeck_chassis.blobs import BlobStore
from tunedeck_chassis.bus import Bus
from tunedeck_contracts.errors import Conflict, NotFound, TunedeckError
from tunedeck_contracts.ids import checked_id
from tunedeck_contracts.job_changes import JobDeleted
from tunedeck_contracts.jobs import Status
from tunedeck_contracts.rpc import JOB_FORGET
from tunedeck_contracts.telemetry import ForgetJob
from tunedeck_jobs.checkpoints import Checkpoints
from tunedeck_jobs.lifecycle import Change
from tunedeck_jobs.record import JobRecord
from tunedeck_jobs.relay import Relay
from tunedeck_jobs.repository.jobs import JobRepository

log = structlog.get_logger()

LOOK_SECONDS = 5.0
FILES_SECONDS = 4.0
"""With what telemetry is given, below the time limit of the request."""


class Deletion:
    """The clients' request, and the sweep."""

    def __init__(
        self,
        repository: JobRepository,
        checkpoints: Checkpoints,
        blobs: BlobStore,
        bus: Bus,
        relay: Relay,
    ) -> None:
        self._repository = repository
        self._checkpoints = checkpoints
        self._blobs = blobs
        self._bus = bus
        self._relay = relay

    async def delete(self, uid: str) -> JobDeleted:
        """Remove a job.

        Raises:
            NotFound: there is none with this uid. Conflict: it is queued or runs.
        """
        record = await self._repository.apply(checked_id("job", uid), Change.DELETE)
        if record is None:
            raise await self._refusal(uid)
        points = await self._forget(uid)
        # Only now the event: telemetry removes the points at its sight, and could not say how many.
        self._relay.kick()
        files = record.stored_artifacts
        counted = "1 file" if len(files) == 1 else f"{len(files)} files"
        if not await self._are_files_removed(record):
            counted = f"{counted}, whose removal follows"
        rest = "its points and logs are gone" if points is not None else "its points and logs follow"
        return JobDeleted(
            message=f"Removed job {record.job.name!r} with {counted}; {rest}.",
            uid=uid,
            artifacts=len(files),
            artifact_bytes=sum(one.size for one in files),
            points=points,
        )

    async def run(self) -> None:
        """Finish deletions, and remove the checkpoints that jobs let go, until cancelled."""
        while True:
            try:
                await self.finish()
                await self._checkpoints.let_go()
            except Exception as error:
                log.warning("deletions_wait", error=repr(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def finish(self) -> int:
        """Do what is left of every deletion; return how many are done."""
        done = 0
        for record in await self._repository.deleted():
            await self._remove_files(record)
            done += await self._repository.purge(record.job.uid)
        return done

    async def _refusal(self, uid: str) -> NotFound | Conflict:
        found = await self._repository.get(uid)
        if found is None:
            return NotFound(f"There is no job {uid!r}.")
        hint = "cancel it first" if found.job.status in (Status.QUEUED, Status.RUNNING) else "try again"
        return Conflict(f"Job {uid!r} is {found.job.status.value}; {hint}.")

    async def _forget(self, uid: str) -> int | None:
        try:
            return (await self._bus.request(JOB_FORGET, ForgetJob(job_id=uid))).points
        except TunedeckError as error:
            log.warning("telemetry_forgets_later", job=uid, error=error.detail)
            return None

    async def _are_files_removed(self, record: JobRecord) -> bool:
        """Whether they are gone already; the sweep removes what is left."""
        try:
            async with asyncio.timeout(FILES_SECONDS):
                await self._remove_files(record)
        except (PyMongoError, TimeoutError) as error:
            log.warning("files_go_later", job=record.job.uid, error=repr(error))
            return False
        return True

    async def _remove_files(self, record: JobRecord) -> None:
        for artifact in record.stored_artifacts:
            await self._blobs.delete(artifact.blob_id)
        for blob_id in (*(one.blob.id for one in record.checkpoints), *record.released):
            await self._checkpoints.remove(record.job.uid, blob_id)
