"""The way of a tuned model's files into the blob store, and to their lasting place on this host."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from tunedeck_chassis.blobs import ORPHAN_AGE, BlobStore
from tunedeck_contracts.jobs import StoredArtifact
from tunedeck_trainer.tuned_files import files_of

_CHUNK = 2**20


async def store(folder: Path, blobs: BlobStore, stored: list[StoredArtifact]) -> None:
    """Put the tuned model's files that are not in `stored` into the blob store, and add them to it.

    They expire unless the jobs service keeps them: the run may not end as completed.
    """
    done = {one.path for one in stored}
    for file in files_of(folder):
        path = file.relative_to(folder).as_posix()
        if path not in done:
            blob = await blobs.put(_chunks(file), filename=path, keep_for=ORPHAN_AGE)
            stored.append(StoredArtifact(path=path, size=blob.size, sha256=blob.sha256, blob_id=blob.id))


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
