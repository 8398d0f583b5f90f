"""The rows of a job that a process beside training is asked about."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tunedeck_chassis.blobs import BlobStore
from tunedeck_contracts.datasets import ResolvedDataset
from tunedeck_trainer import failures, rows
from tunedeck_trainer.failures import RunFailed
from tunedeck_trainer.side_process import refusal


@asynccontextmanager
async def rows_beside(dataset: ResolvedDataset, blobs: BlobStore, folder: Path) -> AsyncIterator[Path]:
    """The dataset's rows in a file below the folder, as long as the block lasts.

    Raises:
        Conflict: the rows are gone, or are not those that were pinned.
    """
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240
    with TemporaryDirectory(dir=folder) as own:
        rows_file = Path(own) / "rows.jsonl"
        try:
            await rows.download(dataset, blobs, rows_file)
        except RunFailed as error:
            raise refusal(failures.of_exception(error)) from error
        yield rows_file
