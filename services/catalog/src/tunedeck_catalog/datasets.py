"""Datasets: an upload's usable rows as JSON Lines, pinned by hash."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePath

from tunedeck_catalog.file_check import FileCheck, FileRefused, FileReport, Pair
from tunedeck_catalog.reading import Mapping
from tunedeck_catalog.records import SavedDataset, Upload
from tunedeck_catalog.repository.datasets import DatasetRepository, IdTaken, SavedBefore
from tunedeck_catalog.rows import RowsBefore, json_lines
from tunedeck_catalog.uploads import UPLOAD_LIFETIME, UploadRefused, Uploads, usable_pairs
from tunedeck_chassis.blobs import Blob, BlobStore
from tunedeck_contracts.datasets import (
    ChangeDataset,
    CreateDataset,
    Dataset,
    DatasetList,
    DatasetValidation,
    ResolvedDataset,
)
from tunedeck_contracts.errors import Conflict, FieldProblem, NotFound, TunedeckError, ValidationFailed
from tunedeck_contracts.ids import is_safe_id, new_dataset_uid
from tunedeck_contracts.message import utc_now

MAX_DATASETS = 1000
_SLUG_CHARACTERS = 50
_NUMBERED_SUFFIXES = 20


class Datasets:
    """Saves uploads as datasets, and says what a job's reference stands for."""

    def __init__(self, repository: DatasetRepository, blobs: BlobStore, uploads: Uploads) -> None:
        self._repository = repository
        self._blobs = blobs
        self._uploads = uploads

    async def create(self, message: CreateDataset) -> Dataset:
        """Save an upload.

        Raises:
            Conflict: the caller's id is taken.
            NotFound: the upload is not there any more.
            UploadRefused: the upload cannot become a dataset with its columns as they are mapped.
        """
        if message.id is not None:
            await self._check_id(message.id)
        upload = await self._uploads.get(message.upload_id)
        mapping = Mapping(
            message.input_column or upload.reading.mapping.input,
            message.output_column or upload.reading.mapping.output,
        )
        upload = replace(upload, reading=replace(upload.reading, mapping=mapping))
        return (await self._save(upload, message, automatic=False)).dataset

    async def get(self, reference: str) -> SavedDataset:
        """By uid or id.

        Raises:
            NotFound: there is none.
        """
        saved = await self._repository.dataset(reference)
        if saved is None:
            raise _not_found(reference)
        return saved

    async def change(self, message: ChangeDataset) -> Dataset:
        """Rename or retag; what is absent or null stays.

        Raises:
            NotFound: there is no such dataset.
        """
        saved = await self.get(message.dataset)
        changes = message.model_dump(by_alias=False, exclude={"dataset"}, exclude_none=True)
        if not changes:
            return saved.dataset
        changed = await self._repository.change_dataset(saved.dataset.uid, changes)
        if changed is None:
            raise _not_found(message.dataset)
        return changed

    async def list(self) -> DatasetList:
        """The newest first, at most 1,000."""
        return DatasetList(datasets=await self._repository.datasets(MAX_DATASETS))

    async def resolve(self, reference: str) -> ResolvedDataset:
        """What a uid, an id or an upload_id stands for; an upload is saved by it, once.

        Raises:
            NotFound: it is none of them.
            UploadRefused: it is an upload that cannot become a dataset.
        """
        saved = await self._repository.dataset(reference)
        if saved is None:
            saved = await self._save_once(reference)
        return ResolvedDataset(
            uid=saved.dataset.uid,
            name=saved.dataset.name,
            rows=saved.dataset.rows,
            rows_blob=saved.rows_blob,
            rows_sha256=saved.rows_sha256,
        )

    async def _check_id(self, wanted: str) -> None:
        if not is_safe_id(wanted):
            sentence = "an id has at most 64 letters, digits, _ and -"
            raise ValidationFailed(f"id: {sentence}.", [FieldProblem(loc="id", message=sentence)])
        if await self._repository.has_id(wanted):
            raise _id_taken(wanted)

    async def _save_once(self, reference: str) -> SavedDataset:
        try:
            upload = await self._uploads.get(reference)
        except NotFound:
            raise NotFound(
                f"There is no dataset {reference!r}. Upload a CSV with POST /api/preview-csv "
                "and save it with POST /api/datasets."
            ) from None
        name = PurePath(upload.filename).stem.strip()[:200] or "Dataset"
        message = CreateDataset(upload_id=upload.uid, name=name)
        try:
            return await self._save(upload, message, automatic=True)
        except SavedBefore:
            return await self.get(reference)

    async def _save(self, upload: Upload, message: CreateDataset, *, automatic: bool) -> SavedDataset:
        rows = await self._store_rows(upload)
        try:
            return await self._insert(upload, message, rows, automatic)
        except (SavedBefore, TunedeckError):
            # Of any other failure it is not known whether the dataset was saved: its rows must stay.
            await self._blobs.delete(rows.blob.id)
            raise

    async def _store_rows(self, upload: Upload) -> "_StoredRows":
        check = FileCheck(upload.reading)
        index = RowsBefore()
        rows = index.counted(_as_lines(usable_pairs(self._blobs.read(upload.blob_id), check)))
        try:
            blob = await self._blobs.put(rows, filename=f"{upload.uid}.jsonl", keep_for=UPLOAD_LIFETIME)
        except FileRefused as refused:
            raise UploadRefused(refused, upload.uid) from None
        return _StoredRows(blob, index.before, await asyncio.to_thread(check.report))

    async def _insert(
        self, upload: Upload, message: CreateDataset, rows: "_StoredRows", automatic: bool
    ) -> SavedDataset:
        # Kept before it is referred to: a crash in between costs space, the other order a dataset.
        await self._blobs.keep(rows.blob.id)
        for wanted in _ids(message):
            saved = SavedDataset(
                dataset=_dataset(upload, message, rows.report, wanted),
                rows_blob=rows.blob.id,
                rows_sha256=rows.blob.sha256,
                rows_before=rows.before,
                upload_id=upload.uid,
                automatic=automatic,
            )
            try:
                await self._repository.insert_dataset(saved)
                return saved
            except IdTaken:
                if message.id is not None:
                    raise _id_taken(message.id) from None
        raise Conflict(f"No free id was found for the name {message.name!r}; give one.")


@dataclass(frozen=True)
class _StoredRows:
    blob: Blob
    before: list[int]
    report: FileReport


async def _as_lines(batches: AsyncIterator[list[Pair]]) -> AsyncIterator[bytes]:
    async for pairs in batches:
        yield await asyncio.to_thread(json_lines, pairs)


def slug(name: str) -> str:
    """`Customer Support Q&A` -> `customer-support-q-a`."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:_SLUG_CHARACTERS].strip("-") or "dataset"


def readable_size(size: int) -> str:
    """Bytes for people: `2.3 MB`, of 1,024 each way as the upload limit counts."""
    if size < 1024 * 1024:
        return f"{size / 1024:.1f} KB"
    return f"{size / 1024 / 1024:.1f} MB"


def _ids(message: CreateDataset) -> Iterator[str]:
    if message.id is not None:
        yield message.id
        return
    base = slug(message.name)
    yield base
    for number in range(2, _NUMBERED_SUFFIXES):
        yield f"{base}-{number}"
    yield f"{base}-{secrets.token_hex(4)}"


def _dataset(upload: Upload, message: CreateDataset, report: FileReport, wanted: str) -> Dataset:
    return Dataset(
        uid=new_dataset_uid(),
        id=wanted,
        name=message.name,
        description=message.description,
        tags=message.tags,
        columns=report.columns,
        rows=report.usable,
        size=readable_size(upload.size),
        created_at=utc_now(),
        validation=DatasetValidation(is_valid=True, has_required_columns=True, errors=report.findings),
    )


def _not_found(reference: str) -> NotFound:
    return NotFound(f"There is no dataset {reference!r}; GET /api/datasets lists what there is.")


def _id_taken(wanted: str) -> Conflict:
    return Conflict(f"Dataset '{wanted}' already exists")
