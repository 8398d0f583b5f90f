"""The way of a tuned model's files into the blob store, and to their lasting place on this host."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from tunedeck_chassis.blobs import BlobStore
from tunedeck_contracts.jobs import StoredArtifact
from tunedeck_trainer.tuned_files import files_of

_CHUNK = 2**20


async def store(folder: Path, blobs: BlobStore) -> list[StoredArtifact]:
    """Put every file of the tuned model into the blob store."""
    stored = []
    for file in files_of(folder):
        path = file.relative_to(folder).as_posix()
        blob = await blobs.put(_chunks(file), filename=path)
        stored.append(StoredArtifact(path=path, size=blob.size, sha256=blob.sha256, blob_id=blob.id))
    return stored


def publish(folder: Path, adapters_dir: Path, job_uid: str) -> Path:
    """Move the tuned model to its lasting place, in place of a former attempt's; returns that place."""
    place = adapters_dir / job_uid
    adapters_dir.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(place, ignore_errors=True)
    shutil.move(folder, place)
    return place


async def _chunks(file: Path) -> AsyncIterator[bytes]:
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            yield chunk
