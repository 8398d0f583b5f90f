"""The rows of a run's dataset, from the blob store to a file."""

import asyncio
import hashlib
from pathlib import Path

import structlog
from pymongo.errors import PyMongoError

from tunedeck_chassis.blobs import BlobStore
from tunedeck_contracts.datasets import ResolvedDataset
from tunedeck_contracts.errors import NotFound
from tunedeck_contracts.failures import FailureCode
from tunedeck_trainer.failures import RunFailed

log = structlog.get_logger()

RETRY_SECONDS = 2.0


async def download(dataset: ResolvedDataset, blobs: BlobStore, file: Path) -> None:
    """Write the dataset's rows to a file; an outage of the store is waited out.

    Raises:
        RunFailed: the rows are gone, or are not those that the job pinned.
    """
    while True:
        try:
            sha256 = await _copied(dataset.rows_blob, blobs, file)
            break
        except NotFound as error:
            raise RunFailed(
                FailureCode.BAD_DATA, f"The rows of the dataset {dataset.uid} are gone: {error.detail}"
            ) from error
        except PyMongoError as error:
            log.warning("rows_unreachable", dataset=dataset.uid, error=repr(error))
            await asyncio.sleep(RETRY_SECONDS)
    if sha256 != dataset.rows_sha256:
        raise RunFailed(
            FailureCode.BAD_DATA, f"The rows of the dataset {dataset.uid} are not those that the job pinned."
        )


async def _copied(blob_id: str, blobs: BlobStore, file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("wb") as opened:
        async for piece in blobs.read(blob_id):
            opened.write(piece)
            digest.update(piece)
    return digest.hexdigest()
