"""Datasets: an upload's usable rows as JSON Lines, pinned by hash."""

import asyncio
import json
import re
import secrets
from collections.abc import Iterator

from tunedeck_catalog.csv_check import CsvCheck, CsvRefused, CsvReport
from tunedeck_catalog.records import SavedDataset, Upload
from tunedeck_catalog.repository.datasets import DatasetRepository, IdTaken, SavedBefore
from tunedeck_catalog.threads import convert_in_thread
from tunedeck_catalog.uploads import UPLOAD_LIFETIME, UploadRefused, Uploads
from tunedeck_chassis.blobs import Blob, BlobStore
from tunedeck_contracts.datasets import (
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
_BATCH_BYTES = 256 * 1024
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
        saved = await self._save(upload, message, automatic=False)
        return saved.dataset

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
        name = re.sub(r"\.csv$", "", upload.filename, flags=re.IGNORECASE).strip()[:200] or "Dataset"
        message = CreateDataset(upload_id=upload.uid, name=name)
        try:
            return await self._save(upload, message, automatic=True)
        except SavedBefore:
            saved = await self._repository.dataset(reference)
            assert saved is not None
            return saved

    async def _save(self, upload: Upload, message: CreateDataset, *, automatic: bool) -> SavedDataset:
        blob, report = await self._store_rows(upload)
        try:
            return await self._insert(upload, message, blob, report, automatic)
        except (SavedBefore, TunedeckError):
            # Of any other failure it is not known whether the dataset was saved: its rows must stay.
            await self._blobs.delete(blob.id)
            raise

    async def _store_rows(self, upload: Upload) -> tuple[Blob, CsvReport]:
        checked: list[CsvCheck] = []

        def convert(pieces: Iterator[bytes]) -> Iterator[bytes]:
            checked.append(CsvCheck(pieces, upload.mapping))
            return json_lines(checked[0].pairs())

        rows = convert_in_thread(self._blobs.read(upload.blob_id), convert)
        try:
            blob = await self._blobs.put(rows, filename=f"{upload.uid}.jsonl", keep_for=UPLOAD_LIFETIME)
        except CsvRefused as refused:
            raise UploadRefused(refused, upload.uid) from None
        return blob, await asyncio.to_thread(checked[0].report)

    async def _insert(
        self, upload: Upload, message: CreateDataset, blob: Blob, report: CsvReport, automatic: bool
    ) -> SavedDataset:
        # Kept before it is referred to: a crash in between costs space, the other order a dataset.
        await self._blobs.keep(blob.id)
        for wanted in _ids(message):
            saved = SavedDataset(
                dataset=_dataset(upload, message, report, wanted),
                rows_blob=blob.id,
                rows_sha256=blob.sha256,
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


def json_lines(pairs: Iterator[tuple[str, str]]) -> Iterator[bytes]:
    """The canonical rows: one object a line with `input` and `output`, UTF-8, in batches of about 256 KiB."""
    batch = bytearray()
    for prompt, answer in pairs:
        row = {"input": prompt, "output": answer}
        batch += json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        if len(batch) >= _BATCH_BYTES:
            yield bytes(batch)
            batch.clear()
    if batch:
        yield bytes(batch)


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


def _dataset(upload: Upload, message: CreateDataset, report: CsvReport, wanted: str) -> Dataset:
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


def _id_taken(wanted: str) -> Conflict:
    return Conflict(f"Dataset '{wanted}' already exists")
