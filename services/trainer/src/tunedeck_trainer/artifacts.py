"""The way of a tuned model's files into the blob store."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import structlog
from pymongo.errors import PyMongoError

from tunedeck_chassis.blobs import ORPHAN_AGE, BlobStore
from tunedeck_contracts.errors import InsufficientStorage, Unavailable
from tunedeck_contracts.model_saving import StoredArtifact
from tunedeck_trainer.file_hashes import files_of
from tunedeck_trainer.room import Room

log = structlog.get_logger()

RETRY_SECONDS = 1.0
_CHUNK = 2**20


async def store(folder: Path, blobs: BlobStore, room: Room) -> list[StoredArtifact]:
    """Put the tuned model's files into the blob store, each once. An outage of the store is waited out, and a
    disk without room for them too.

    They expire unless the jobs service keeps them: the run may not end as completed.
    """
    stored: list[StoredArtifact] = []
    while True:
        try:
            await _store_rest(folder, blobs, room, stored)
            return stored
        except (PyMongoError, InsufficientStorage, Unavailable) as error:
            log.warning("artifacts_not_stored", folder=str(folder), error=repr(error))
            await asyncio.sleep(RETRY_SECONDS)


async def _store_rest(folder: Path, blobs: BlobStore, room: Room, stored: list[StoredArtifact]) -> None:
    done = {one.path for one in stored}
    paths = {file.relative_to(folder).as_posix(): file for file in files_of(folder)}
    left = {path: file for path, file in paths.items() if path not in done}
    # For all, before the first: what is stored expires after a day, and may not wait for the rest.
    await room.check(sum(file.stat().st_size for file in left.values()))
    for path, file in left.items():
        blob = await blobs.put(_chunks(file), filename=path, keep_for=ORPHAN_AGE)
        stored.append(StoredArtifact(path=path, size=blob.size, sha256=blob.sha256, blob_id=blob.id))


async def _chunks(file: Path) -> AsyncIterator[bytes]:
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            yield chunk
