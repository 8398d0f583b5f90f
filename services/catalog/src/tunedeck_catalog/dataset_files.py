"""The rows of saved datasets: by page, as files, and their removal."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta

import structlog
from pymongo.errors import PyMongoError

from tunedeck_catalog.datasets import Datasets
from tunedeck_catalog.file_check import Pair
from tunedeck_catalog.records import SavedDataset
from tunedeck_catalog.repository.datasets import DatasetRepository
from tunedeck_catalog.rows import CSV_HEADER, csv_lines, page, pairs_of, place_of, whole_lines
from tunedeck_catalog.token_counts import TokenCounts
from tunedeck_chassis.blobs import Blob, BlobStore
from tunedeck_chassis.bus import Bus
from tunedeck_contracts import rpc
from tunedeck_contracts.datasets import (
    CountTokens,
    DatasetDeleted,
    DatasetFile,
    FileFormat,
    GetRows,
    LocateFile,
    NumberedRow,
    RemovedParts,
    RowPage,
)
from tunedeck_contracts.errors import Conflict, NotFound, Unavailable
from tunedeck_contracts.job_lists import FindJobsUsing
from tunedeck_contracts.tokens import TokenStatistics

log = structlog.get_logger()

_MEDIA_TYPES = {FileFormat.CSV: "text/csv; charset=utf-8", FileFormat.JSONL: "application/jsonl"}
_NAMED_JOBS = 5
_UNUSED_FOR = timedelta(hours=24)


class DatasetFiles:
    """What becomes of the blobs of saved datasets."""

    def __init__(
        self,
        datasets: Datasets,
        repository: DatasetRepository,
        blobs: BlobStore,
        token_counts: TokenCounts,
        bus: Bus,
    ) -> None:
        self._datasets = datasets
        self._repository = repository
        self._blobs = blobs
        self._token_counts = token_counts
        self._bus = bus

    async def rows(self, message: GetRows) -> RowPage:
        """One page; only the chunks that hold it are read.

        Raises:
            NotFound: there is no such dataset.
        """
        saved = await self._datasets.get(message.dataset)
        pairs = []
        if message.offset < saved.dataset.rows:
            chunk, passed = place_of(message.offset, saved.rows_before)
            pairs = await page(self._blobs.read(saved.rows_blob, chunk), passed, message.limit)
        return RowPage(
            rows=[
                NumberedRow(number=number, input=prompt, output=answer)
                for number, (prompt, answer) in enumerate(pairs, start=message.offset + 1)
            ],
            total=saved.dataset.rows,
            offset=message.offset,
            limit=message.limit,
        )

    async def locate(self, message: LocateFile) -> DatasetFile:
        """Where the rows are as a file; CSV is made when it is asked for first, and kept with the dataset.

        Raises:
            NotFound: there is no such dataset.
        """
        saved = await self._datasets.get(message.dataset)
        is_csv = message.format is FileFormat.CSV
        blob = await self._blobs.stat(await self._csv_blob(saved) if is_csv else saved.rows_blob)
        return DatasetFile(
            filename=f"{saved.dataset.name}.{message.format}",
            media_type=_MEDIA_TYPES[message.format],
            blob_id=blob.id,
            sha256=blob.sha256,
            size=blob.size,
        )

    async def count_tokens(self, message: CountTokens) -> TokenStatistics:
        """Token lengths of the rows by a model's tokenizer.

        Raises:
            NotFound: there is no such dataset.
            TunedeckError: the tokenizer cannot be had.
        """
        saved = await self._datasets.get(message.dataset)
        blob = await self._blobs.stat(saved.rows_blob)
        return await self._token_counts.count(
            message.model,
            _pairs(self._blobs.read(saved.rows_blob)),
            rows=saved.dataset.rows,
            size=blob.size,
            max_length=message.max_length,
        )

    async def delete(self, reference: str) -> DatasetDeleted:
        """Remove a dataset and its files, unless a job that has not ended needs it.

        The dataset is hidden first, so that no new job can pin it, then the jobs are asked; what
        breaks off so far shows it again within a minute. Then it is deleted for good, and its files
        follow: what breaks off from there is done by `finish`. One job can slip through: one that had
        resolved the dataset before and is stored after the jobs were asked. Its training fails with
        `bad_data`, which says that the rows are gone.

        Raises:
            NotFound: there is no such dataset.
            Conflict: jobs need it; the sentence names them.
            Unavailable: the jobs service cannot be asked.
        """
        saved = await self._repository.hide((await self._datasets.get(reference)).dataset.uid)
        if saved is None:
            raise NotFound(f"The dataset {reference!r} is being deleted.")
        try:
            await self._refuse_while_needed(saved)
            blobs = await self._blobs_of(saved)
        except BaseException:
            await self._repository.show(saved.dataset.uid)
            raise
        if not await self._repository.delete(saved.dataset.uid):
            raise Unavailable(f"The deletion of the dataset {reference!r} took too long; try again.")
        try:
            await self._remove(saved)
        except PyMongoError as error:
            log.warning("dataset_files_removed_later", dataset=saved.dataset.uid, error=repr(error))
        rows = saved.dataset.rows
        return DatasetDeleted(
            message=f"Successfully removed dataset '{saved.dataset.name}' and its {rows:,} rows",
            uid=saved.dataset.uid,
            removed=RemovedParts(rows=rows, files=len(blobs), bytes=sum(blob.size for blob in blobs)),
        )

    async def finish(self) -> int:
        """Do what is left of every deletion; return how many are done."""
        left = await self._repository.deleted()
        for saved in left:
            await self._remove(saved)
        return len(left)

    async def _remove(self, saved: SavedDataset) -> None:
        for blob_id in (saved.rows_blob, saved.csv_blob):
            if blob_id is not None:
                await self._blobs.delete(blob_id)
        await self._repository.purge(saved.dataset.uid)

    async def _refuse_while_needed(self, saved: SavedDataset) -> None:
        names = [saved.dataset.id, saved.upload_id]
        question = FindJobsUsing(dataset=saved.dataset.uid, also=names)
        using = await self._bus.request(rpc.JOBS_USING_DATASET, question)
        if using.jobs:
            named = ", ".join(using.jobs[:_NAMED_JOBS])
            more = f" and {len(using.jobs) - _NAMED_JOBS} more" if len(using.jobs) > _NAMED_JOBS else ""
            name = saved.dataset.name
            raise Conflict(f"Dataset '{name}' is needed by {named}{more}: cancel them or let them end first.")

    async def _blobs_of(self, saved: SavedDataset) -> list[Blob]:
        found: list[Blob] = []
        for blob_id in (saved.rows_blob, saved.csv_blob):
            with suppress(NotFound):
                found += [await self._blobs.stat(blob_id)] if blob_id is not None else []
        return found

    async def _csv_blob(self, saved: SavedDataset) -> str:
        if saved.csv_blob is not None:
            return saved.csv_blob
        made = await self._blobs.put(
            _as_csv(self._blobs.read(saved.rows_blob)),
            filename=f"{saved.dataset.uid}.csv",
            keep_for=_UNUSED_FOR,
        )
        # Kept before it is referred to: a crash in between costs space, the other order the file.
        await self._blobs.keep(made.id)
        kept = await self._repository.set_csv_blob(saved.dataset.uid, made.id)
        if kept != made.id:
            await self._blobs.delete(made.id)
        if kept is None:
            raise NotFound(f"The dataset {saved.dataset.uid!r} was deleted meanwhile.")
        return kept


async def _as_csv(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield CSV_HEADER
    async for pairs in _pairs(pieces):
        yield await asyncio.to_thread(csv_lines, pairs)


async def _pairs(pieces: AsyncIterator[bytes]) -> AsyncIterator[list[Pair]]:
    async for lines in whole_lines(pieces):
        yield await asyncio.to_thread(pairs_of, lines)
