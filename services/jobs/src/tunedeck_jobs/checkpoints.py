"""What a job can go on from: registered checkpoints, and the removal of those that are not needed any more.

A checkpoint's file is kept before the job names it. What the job names no more
is noted in the same write, and removed after it, unless a job that tries this
one again goes on from it; the sweep removes what a crash has left.
"""

import contextlib
from collections.abc import Sequence
from typing import TypeGuard

from tunedeck_chassis.blobs import ORPHAN_AGE, BlobStore
from tunedeck_chassis.crash_points import reached
from tunedeck_contracts.checkpoints import Checkpoint, RegisterCheckpoint
from tunedeck_contracts.errors import Fenced, NotFound
from tunedeck_contracts.jobs import Status
from tunedeck_jobs.lifecycle import Facts
from tunedeck_jobs.record import JobRecord
from tunedeck_jobs.relay import Relay
from tunedeck_jobs.repository.jobs import JobRepository

KEPT = 2
"""The newest ones; where one cannot be read, a resume takes the other. The best one stays beside them."""


class Checkpoints:
    """The trainers' side, and the sweep."""

    def __init__(self, repository: JobRepository, blobs: BlobStore, relay: Relay) -> None:
        self._repository = repository
        self._blobs = blobs
        self._relay = relay

    async def register(self, request: RegisterCheckpoint) -> None:
        """From here on a resume may use it. The same one again, or an older one late, changes nothing.

        Raises:
            Fenced: the job is not this run's any more. NotFound: the file has expired.
        """
        uid, new = request.job_uid, request.checkpoint
        is_kept = False
        record = await self._repository.get(uid)
        while _is_run_of(record, request) and not _is_known(record, new):
            # Before the job names it: the other way round it may expire.
            await self._blobs.keep(new.blob.id)
            is_kept = True
            if await self._registered(record, new):
                return
            record = await self._repository.get(uid)
        if is_kept and not _is_named(record, new):
            with contextlib.suppress(NotFound):
                await self._blobs.keep(new.blob.id, ORPHAN_AGE)
        if not _is_run_of(record, request):
            raise Fenced(f"Job {uid!r} takes no checkpoint of run {request.fence} any more.")

    async def let_go(self) -> int:
        """Remove the files of checkpoints that no job goes on from; return how many."""
        removed = 0
        for record in await self._repository.with_released():
            for blob_id in record.released:
                removed += await self.remove(record.job.uid, blob_id)
                await self._repository.let_go(record.job.uid, blob_id)
        return removed

    async def remove(self, uid: str, blob_id: str) -> bool:
        """Remove a checkpoint's file that the job does not name any more, unless another job does."""
        if await self._repository.is_used_elsewhere(uid, blob_id):
            return False
        await self._blobs.delete(blob_id)
        return True

    async def _registered(self, record: JobRecord, new: Checkpoint) -> bool:
        kept, released = retained(record.checkpoints, new)
        facts = Facts(fence=new.fence, rev=record.job.rev)
        if await self._repository.register(record.job.uid, facts, kept, released) is None:
            return False
        reached("jobs.checkpoint_registered")
        self._relay.kick()
        return True


def retained(known: Sequence[Checkpoint], new: Checkpoint) -> tuple[list[Checkpoint], list[str]]:
    """The checkpoints that a job keeps beside a new one, newest first, and the blobs of the others.

    Steps at or after the new one are of a run that went further and was lost: this run's history is another.
    """
    before = sorted((one for one in known if one.step < new.step), key=lambda one: one.step, reverse=True)
    kept = [new, *before][:KEPT]
    best = best_of([new, *before])
    if best is not None and best not in kept:
        kept.append(best)
    names = {one.blob.id for one in kept}
    return kept, [one.blob.id for one in known if one.blob.id not in names]


def best_of(checkpoints: Sequence[Checkpoint]) -> Checkpoint | None:
    """The one with the lowest validation loss, of several the earliest, or None while none has one."""
    judged = [one for one in checkpoints if one.validation_loss is not None]
    return min(judged, key=lambda one: (one.validation_loss, one.step), default=None)


def _is_run_of(record: JobRecord | None, request: RegisterCheckpoint) -> TypeGuard[JobRecord]:
    if record is None or request.checkpoint.fence != request.fence:
        return False
    return record.job.status is Status.RUNNING and record.fence == request.fence


def _is_named(record: JobRecord | None, new: Checkpoint) -> bool:
    return record is not None and any(one.blob.id == new.blob.id for one in record.checkpoints)


def _is_known(record: JobRecord, new: Checkpoint) -> bool:
    """The run has registered this one, or a later one already."""
    return any(one.fence == new.fence and one.step >= new.step for one in record.checkpoints)
