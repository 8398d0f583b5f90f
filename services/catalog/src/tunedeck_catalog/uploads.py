"""Uploads: checked whole, shown in part, kept for a day."""

from datetime import timedelta

from tunedeck_catalog.csv_check import CsvRefused, CsvReport, Mapping, check
from tunedeck_catalog.records import Upload
from tunedeck_catalog.repository.datasets import DatasetRepository
from tunedeck_catalog.threads import read_in_thread
from tunedeck_chassis.blobs import BlobStore
from tunedeck_contracts.datasets import (
    CheckStoredUpload,
    CheckUpload,
    CsvPreview,
    PreviewStatistics,
    RefusedUpload,
)
from tunedeck_contracts.errors import BadRequest, NotFound
from tunedeck_contracts.ids import new_upload_uid
from tunedeck_contracts.message import utc_now

UPLOAD_LIFETIME = timedelta(hours=24)


class UploadRefused(BadRequest):
    """The file cannot become a dataset as it is; what could be read of it goes with the answer."""

    def __init__(self, refused: CsvRefused, upload_id: str) -> None:
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
    """Checks files that the gateway has put in the blob store."""

    def __init__(self, repository: DatasetRepository, blobs: BlobStore) -> None:
        self._repository = repository
        self._blobs = blobs

    async def check(self, message: CheckUpload) -> CsvPreview:
        """Keep the upload, then check it: one that is refused can be checked again with its columns mapped.

        Raises:
            UploadRefused: it cannot be parsed, is empty, or lacks a column.
            NotFound: the blob is not there.
        """
        blob = await self._blobs.stat(message.blob_id)
        upload = Upload(
            uid=new_upload_uid(),
            filename=message.filename,
            blob_id=blob.id,
            sha256=blob.sha256,
            size=blob.size,
            is_new=await self._repository.first_sight(blob.sha256),
            mapping=Mapping(message.input_column, message.output_column),
            expires_at=utc_now() + UPLOAD_LIFETIME,
        )
        await self._repository.insert_upload(upload)
        return await self._preview(upload)

    async def recheck(self, message: CheckStoredUpload) -> CsvPreview:
        """Check a kept upload again with other columns.

        Raises:
            UploadRefused: as in `check`.
            NotFound: there is no such upload any more.
        """
        await self.get(message.upload_id)
        mapping = Mapping(message.input_column, message.output_column)
        await self._repository.map_upload(message.upload_id, mapping)
        return await self._preview(await self.get(message.upload_id))

    async def get(self, uid: str) -> Upload:
        """A kept upload.

        Raises:
            NotFound: there is none, or its day is over.
        """
        upload = await self._repository.upload(uid)
        if upload is None or upload.expires_at <= utc_now():
            raise NotFound(f"There is no upload {uid!r}; uploads are kept for 24 hours. Send the file again.")
        return upload

    async def _preview(self, upload: Upload) -> CsvPreview:
        pieces = self._blobs.read(upload.blob_id)
        try:
            report = await read_in_thread(pieces, lambda data: check(data, upload.mapping))
        except CsvRefused as refused:
            raise UploadRefused(refused, upload.uid) from None
        return _preview(upload, report)


def _preview(upload: Upload, report: CsvReport) -> CsvPreview:
    return CsvPreview(
        filename=upload.filename,
        columns=report.columns,
        data=report.head,
        validation_errors=report.findings,
        statistics=PreviewStatistics(
            total_rows=report.rows,
            total_columns=len(report.columns),
            file_size_kb=round(upload.size / 1024, 1),
            preview_rows=len(report.head),
            has_required_columns=True,
        ),
        is_new_upload=upload.is_new,
        upload_id=upload.uid,
    )
