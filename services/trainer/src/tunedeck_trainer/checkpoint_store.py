"""Checkpoints on their way: to the blob store, to jobs, and into the folder of a later run."""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import structlog
from pymongo.errors import PyMongoError

from tunedeck_chassis import crash_points
from tunedeck_chassis.blobs import ORPHAN_AGE, Blob, BlobStore
from tunedeck_contracts import rpc
from tunedeck_contracts.checkpoints import Checkpoint, RegisterCheckpoint, StoredBlob
from tunedeck_contracts.errors import Conflict, NotFound, TunedeckError
from tunedeck_contracts.runs import Run
from tunedeck_trainer import checkpoint_files
from tunedeck_trainer.checkpoint_files import TornCheckpoint
from tunedeck_trainer.file_hashes import files_of
from tunedeck_trainer.pipe import CHECKPOINTS_FOLDER, CheckpointWritten
from tunedeck_trainer.reporting import FencedOut
from tunedeck_trainer.room import Room
from tunedeck_trainer.surroundings import Surroundings

log = structlog.get_logger()

RETRY_SECONDS = 1.0


class CheckpointStore:
    """Stores and registers what the child writes; of those that wait, the newest alone."""

    def __init__(self, run: Run, around: Surroundings, folder: Path, room: Room) -> None:
        self._run = run
        self._around = around
        self._room = room
        self._folder = folder / CHECKPOINTS_FOLDER
        self._newest: CheckpointWritten | None = None
        self._stored: tuple[int, Blob] | None = None
        self._storing_step = 0
        self._registered_step = 0
        self._is_closed = False
        self._changed = asyncio.Event()
        self._superseded = asyncio.Event()

    def written(self, checkpoint: CheckpointWritten) -> None:
        """The child has written one."""
        self._newest = checkpoint
        self._changed.set()
        self._superseded.set()

    def close(self) -> None:
        """Register nothing from here on."""
        self._is_closed = True

    @property
    def is_settled(self) -> bool:
        """Whether the newest checkpoint, if there is one, is registered."""
        return self._newest is None or self._newest.step == self._registered_step

    async def run(self) -> None:
        """Store and register until cancelled; outages are waited out.

        Raises:
            FencedOut: another fence owns the job.
        """
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._newest is not None and not self.is_settled and not self._is_closed:
                try:
                    await self._keep(self._newest)
                except Conflict as error:
                    raise FencedOut(error.detail) from error
                except (PyMongoError, TunedeckError, OSError) as error:
                    log.warning("checkpoint_not_kept", job=self._run.job_uid, error=repr(error))
                    await asyncio.sleep(RETRY_SECONDS)

    async def prune(self) -> None:
        """Delete from the disk what newer ones have superseded, until cancelled.

        However long the store takes or is away, what is there is the newest, the one on its way to the store,
        the one that was registered last, and what the child has written since it told of the newest.
        """
        while True:
            await self._superseded.wait()
            self._superseded.clear()
            if self._newest is not None:
                needed = {self._storing_step, self._registered_step}
                try:
                    await asyncio.to_thread(self._delete_before, self._newest.step, needed)
                except OSError as error:
                    log.warning("checkpoints_not_pruned", job=self._run.job_uid, error=repr(error))

    async def _keep(self, written: CheckpointWritten) -> None:
        self._storing_step = written.step
        if self._stored is None or self._stored[0] != written.step:
            folder = self._folder / str(written.step)
            name = f"{self._run.job_uid}-{written.step}.tar"
            # Without room for it a checkpoint waits, or the next takes its place: a full disk would end all.
            await self._room.check(sum(one.stat().st_size for one in files_of(folder)))
            blob = await self._around.blobs.put(_archived(folder), filename=name, keep_for=ORPHAN_AGE)
            self._stored = (written.step, blob)
        crash_points.reached("trainer.checkpoint_stored")
        if self._is_closed:
            return
        blob = self._stored[1]
        checkpoint = Checkpoint(
            step=written.step,
            iteration=written.iteration,
            fence=self._run.fence,
            blob=StoredBlob(id=blob.id, sha256=blob.sha256, bytes=blob.size),
            validation_loss=written.validation_loss,
            created_at=written.created_at,
        )
        register = RegisterCheckpoint(job_uid=self._run.job_uid, fence=self._run.fence, checkpoint=checkpoint)
        try:
            await self._around.bus.request(rpc.JOB_CHECKPOINT_REGISTER, register)
        except NotFound:
            # The blob's time was over; if it is the job that is gone, the next beat says so.
            self._stored = None
            raise
        self._registered_step = written.step
        self._superseded.set()
        crash_points.reached("trainer.checkpoint_registered")

    def _delete_before(self, newest: int, needed: set[int]) -> None:
        for folder in self._folder.iterdir():
            if folder.name.isdecimal() and int(folder.name) < newest and int(folder.name) not in needed:
                shutil.rmtree(folder, ignore_errors=True)


async def fetch(checkpoint: Checkpoint, blobs: BlobStore, of_job: Path, folder: Path) -> None:
    """Put a registered checkpoint's files into a new folder; an outage of the store is waited out.

    `of_job` is the job's folder on this host, where the run that wrote it may have left it.

    Raises:
        TornCheckpoint: it is gone, or not what was registered.
    """
    left = of_job / str(checkpoint.fence) / CHECKPOINTS_FOLDER / str(checkpoint.step)
    if left.is_dir() and await asyncio.to_thread(_archive_sha256, left) == checkpoint.blob.sha256:
        await asyncio.to_thread(shutil.copytree, left, folder)
        return
    archive = folder.with_suffix(".tar")
    try:
        if await _downloaded(checkpoint, blobs, archive) != checkpoint.blob.sha256:
            raise TornCheckpoint("The stored archive is not what was registered.")
        await asyncio.to_thread(checkpoint_files.unpack, archive, folder)
    finally:
        archive.unlink(missing_ok=True)
    await asyncio.to_thread(checkpoint_files.verified, folder)


async def _downloaded(checkpoint: Checkpoint, blobs: BlobStore, archive: Path) -> str:
    while True:
        digest = hashlib.sha256()
        try:
            with archive.open("wb") as opened:
                async for piece in blobs.read(checkpoint.blob.id):
                    await asyncio.to_thread(opened.write, piece)
                    digest.update(piece)
            return digest.hexdigest()
        except NotFound as error:
            raise TornCheckpoint(f"Its archive is gone: {error.detail}") from error
        except PyMongoError as error:
            log.warning("checkpoint_unreachable", step=checkpoint.step, error=repr(error))
            await asyncio.sleep(RETRY_SECONDS)


async def _archived(folder: Path) -> AsyncIterator[bytes]:
    pieces = checkpoint_files.archived(folder)
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece


def _archive_sha256(folder: Path) -> str:
    digest = hashlib.sha256()
    for piece in checkpoint_files.archived(folder):
        digest.update(piece)
    return digest.hexdigest()
