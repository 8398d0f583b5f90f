"""The folder of a job's tuned model: kept where it was trained, else fetched and verified by hash."""

import asyncio
import hashlib
import secrets
import shutil
import time
from pathlib import Path

from pymongo.errors import PyMongoError

from tunedeck_chassis.blobs import BlobStore
from tunedeck_contracts.errors import Conflict, NotFound, Unavailable
from tunedeck_contracts.jobs import Status
from tunedeck_contracts.model_saving import StoredArtifact
from tunedeck_contracts.plans import Plan

_WEIGHTS = ".safetensors"
_LONGEST_SECONDS = 24 * 3600


def check_tuned(plan: Plan) -> None:
    """Raise Conflict where the job has no tuned model to be asked."""
    if plan.status is not Status.COMPLETED:
        raise Conflict(
            f"Job {plan.job_uid!r} is {plan.status.value}, so there is no tuned model yet: ask its base with "
            '"adapter": false, or wait until it has completed.'
        )
    if not any(one.path.endswith(_WEIGHTS) for one in wanted_files(plan)):
        raise Conflict(
            f"Job {plan.job_uid!r} has completed without saving its model; its base can be asked with "
            '"adapter": false.'
        )


def wanted_files(plan: Plan) -> list[StoredArtifact]:
    """What is needed to load the tuned model: the files beside each other, without a merged copy below."""
    return [one for one in plan.artifacts if "/" not in one.path]


async def tuned_folder(plan: Plan, adapters_dir: Path, blobs: BlobStore) -> Path:
    """The folder with the tuned model's files.

    Raises:
        Conflict: a file is gone, or is not what the job has stored.
        Unavailable: the blob store does not answer.
    """
    folder = adapters_dir / plan.job_uid
    files = wanted_files(plan)
    if await asyncio.to_thread(_has_all, folder, files):
        return folder.resolve()
    draft = _draft(adapters_dir, plan.job_uid)
    try:
        await asyncio.to_thread(_make, draft)
        for one in files:
            await _fetch(one, blobs, draft)
        await asyncio.to_thread(_put_in_place, draft, folder)
    except NotFound as error:
        raise Conflict(f"A file of job {plan.job_uid!r} is gone: {error.detail}") from error
    except PyMongoError as error:
        raise Unavailable("The blob store does not answer, so the tuned model cannot be fetched.") from error
    except OSError as error:
        raise Unavailable(f"The trainer's disk does not take the tuned model: {error}.") from error
    finally:
        await asyncio.to_thread(shutil.rmtree, draft, ignore_errors=True)
    return folder.resolve()


async def keep(folder: Path, adapters_dir: Path, job_uid: str) -> Path:
    """Move a model that was trained here to its lasting place, in place of a former attempt's.

    It is there whole or not at all: to another disk every byte is copied.

    Raises:
        OSError: the disk does not take it.
    """
    draft, place = _draft(adapters_dir, job_uid), adapters_dir / job_uid

    def moved() -> None:
        _make(draft)
        shutil.move(folder, draft / folder.name)
        _put_in_place(draft / folder.name, place)

    try:
        await asyncio.to_thread(moved)
    finally:
        await asyncio.to_thread(shutil.rmtree, draft, ignore_errors=True)
    return place


def _draft(adapters_dir: Path, job_uid: str) -> Path:
    return adapters_dir / f".draft-{job_uid}-{secrets.token_hex(4)}"


def _make(draft: Path) -> None:
    """A folder of its own; what a trainer that died has left goes."""
    for left in draft.parent.glob(".draft-*"):
        if left.stat().st_mtime < time.time() - _LONGEST_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    draft.mkdir(parents=True)


def _has_all(folder: Path, files: list[StoredArtifact]) -> bool:
    found = {one.name: one.stat().st_size for one in folder.glob("*") if one.is_file()}
    return all(found.get(one.path) == one.size for one in files)


async def _fetch(artifact: StoredArtifact, blobs: BlobStore, folder: Path) -> None:
    digest = hashlib.sha256()
    with (folder / artifact.path).open("wb") as opened:
        async for piece in blobs.read(artifact.blob_id):
            await asyncio.to_thread(opened.write, piece)
            digest.update(piece)
    if digest.hexdigest() != artifact.sha256:
        raise Conflict(
            f"The stored file {artifact.path!r} is not the one that the job has made: its hash differs. "
            "Train the job again."
        )


def _put_in_place(draft: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    # Another trainer with the same folder may have been quicker; its files are the same.
    try:
        draft.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
