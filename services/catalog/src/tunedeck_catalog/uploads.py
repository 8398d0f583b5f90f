"""Uploads: checked whole while they arrive, shown in part, kept for a day."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

from tunedeck_catalog.file_check import FileCheck, FileRefused, FileReport, Pair
from tunedeck_catalog.read_ahead import one_ahead
from tunedeck_catalog.reading import Mapping, Reading, format_of
from tunedeck_catalog.records import Upload
from tunedeck_catalog.repository.datasets import DatasetRepository
from tunedeck_catalog.token_counts import TokenCounts
from tunedeck_chassis.blobs import BlobStore
from tunedeck_contracts.datasets import (
    CheckStoredUpload,
    CheckUpload,
    CsvPreview,
    PreviewStatistics,
    RefusedUpload,
)
from tunedeck_contracts.errors import BadRequest, NotFound
from tunedeck_contracts.message import utc_now
from tunedeck_contracts.tokens import DEFAULT_MAX_LENGTH, TokenStatistics

UPLOAD_LIFETIME = timedelta(hours=24)


class UploadRefused(BadRequest):
    """The file cannot become a dataset as it is; what could be read of it goes with the answer."""

    def __init__(self, refused: FileRefused, upload_id: str) -> None:
        super().__init__(refused.reason)
        self._refused = refused
        self._upload_id = upload_id

    def reply(self) -> RefusedUpload:
        """The error with the columns, the first rows, and the id to map columns by."""
        return RefusedUpload(
            detail=self.detail,
            status_code=self.status_code,
            error_type=type(self).__name__,
            columns=self._refused.columns,
            data=self._refused.head,
            upload_id=self._upload_id,
        )


class Uploads:
    """Checks files that the gateway puts into the blob store."""

    def __init__(self, repository: DatasetRepository, blobs: BlobStore, token_counts: TokenCounts) -> None:
        self._repository = repository
        self._token_counts = token_counts
        self._blobs = blobs

    async def check(self, message: CheckUpload) -> CsvPreview:
        """Check a file while it arrives, and keep it, refused or not.

        Asked again with the same `upload_id` it does the same again.

        Raises:
            UploadRefused: it cannot be parsed, is empty, or lacks a column.
            NotFound: the upload was given up.
            Unavailable: no more of it came for a minute.
            TunedeckError: the model's tokenizer is asked for and cannot be had.
        """
        reading = Reading(
            mapping=Mapping(message.input_column, message.output_column),
            format=message.format or format_of(message.filename),
            encoding=message.encoding,
        )
        if message.model is not None:
            # An unknown model is told before the file has come.
            await self._token_counts.tokenizer(message.model)
        outcome = await _checked(self._blobs.follow(message.blob_id), reading)
        blob = await self._blobs.stat(message.blob_id)
        upload = Upload(
            uid=message.upload_id,
            filename=message.filename,
            blob_id=blob.id,
            sha256=blob.sha256,
            size=blob.size,
            is_new=await self._repository.first_sight(blob.sha256, message.upload_id),
            reading=reading,
            expires_at=utc_now() + UPLOAD_LIFETIME,
        )
        await self._repository.put_upload(upload)
        return await self._answer(upload, outcome, message.model)

    async def recheck(self, message: CheckStoredUpload) -> CsvPreview:
        """Check a kept upload again, read in another way, which is remembered when it serves.

        Raises:
            UploadRefused: as in `check`.
            NotFound: there is no such upload any more.
            TunedeckError: the model's tokenizer is asked for and cannot be had.
        """
        upload = await self.get(message.upload_id)
        upload = replace(upload, reading=_changed(upload.reading, message))
        outcome = await _checked(self._blobs.read(upload.blob_id), upload.reading)
        answer = await self._answer(upload, outcome, message.model)
        await self._repository.read_upload_so(upload.uid, upload.reading)
        return answer

    async def get(self, uid: str) -> Upload:
        """A kept upload.

        Raises:
            NotFound: there is none, or its day is over.
        """
        upload = await self._repository.upload(uid)
        if upload is None or upload.expires_at <= utc_now():
            raise NotFound(f"There is no upload {uid!r}; uploads are kept for 24 hours. Send the file again.")
        return upload

    async def _answer(
        self, upload: Upload, outcome: FileReport | FileRefused, model: str | None
    ) -> CsvPreview:
        if isinstance(outcome, FileRefused):
            raise UploadRefused(outcome, upload.uid)
        statistics = None
        if model is not None:
            pairs = usable_pairs(self._blobs.read(upload.blob_id), FileCheck(upload.reading))
            statistics = await self._token_counts.count(
                model, pairs, rows=outcome.usable, size=upload.size, max_length=DEFAULT_MAX_LENGTH
            )
        return _preview(upload, outcome, statistics)


async def usable_pairs(pieces: AsyncIterator[bytes], check: FileCheck) -> AsyncIterator[list[Pair]]:
    """The rows for training, made in threads from the file's pieces.

    Raises:
        FileRefused: the file cannot become a dataset as it is.
    """
    async with one_ahead(pieces) as ahead:
        async for piece in ahead:
            yield await asyncio.to_thread(check.feed, piece)
    yield await asyncio.to_thread(check.finish)


async def _checked(pieces: AsyncIterator[bytes], reading: Reading) -> FileReport | FileRefused:
    """The check's outcome, known when the last piece is there: a refused file is kept whole too."""
    check = FileCheck(reading)
    refused: FileRefused | None = None
    async with one_ahead(pieces) as ahead:
        async for piece in ahead:
            if refused is None:
                try:
                    await asyncio.to_thread(check.feed, piece)
                except FileRefused as error:
                    refused = error
    if refused is not None:
        return refused
    try:
        await asyncio.to_thread(check.finish)
    except FileRefused as error:
        return error
    return await asyncio.to_thread(check.report)


def _changed(reading: Reading, message: CheckStoredUpload) -> Reading:
    return Reading(
        mapping=Mapping(
            message.input_column or reading.mapping.input, message.output_column or reading.mapping.output
        ),
        format=message.format or reading.format,
        encoding=message.encoding or reading.encoding,
    )


def _preview(upload: Upload, outcome: FileReport, token_statistics: TokenStatistics | None) -> CsvPreview:
    return CsvPreview(
        filename=upload.filename,
        columns=outcome.columns,
        data=outcome.head,
        validation_errors=outcome.findings,
        statistics=PreviewStatistics(
            total_rows=outcome.rows,
            total_columns=len(outcome.columns),
            file_size_kb=round(upload.size / 1024, 1),
            preview_rows=len(outcome.head),
            has_required_columns=True,
        ),
        is_new_upload=upload.is_new,
        upload_id=upload.uid,
        token_statistics=token_statistics,
    )
