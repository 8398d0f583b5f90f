"""Uploads and datasets."""

from datetime import timedelta
from typing import Any

from pymongo import ASCENDING, DESCENDING, ReturnDocument
from pymongo.errors import DuplicateKeyError

from tunedeck_catalog.reading import Mapping, Reading
from tunedeck_catalog.records import SavedDataset, Upload
from tunedeck_chassis.mongo import Client, Document
from tunedeck_contracts.datasets import Dataset, FileFormat
from tunedeck_contracts.message import utc_now
from tunedeck_contracts.text_encodings import UTF_8

_HIDDEN_FOR = timedelta(minutes=1)
_LIVING: Document = {"deleted_at": None}
_MOST_AT_ONCE = 100


class IdTaken(Exception):
    """Another dataset has this id."""


class SavedBefore(Exception):
    """The upload was saved as a dataset by a reference to it already."""


class DatasetRepository:
    """Uploads and datasets of one database."""

    def __init__(self, client: Client, database: str) -> None:
        self._uploads = client[database]["uploads"]
        self._datasets = client[database]["datasets"]
        self._seen = client[database]["seen_files"]

    async def prepare(self) -> None:
        """Create the indexes."""
        await self._uploads.create_index([("expires_at", ASCENDING)], expireAfterSeconds=0)
        await self._datasets.create_index([("id", ASCENDING)], unique=True, name="id")
        await self._datasets.create_index([("created_at", DESCENDING)])
        await self._datasets.create_index([("upload_id", ASCENDING)])
        await self._datasets.create_index(
            [("automatic_of", ASCENDING)], unique=True, sparse=True, name="automatic_of"
        )

    async def first_sight(self, sha256: str, upload_uid: str) -> bool:
        """Note a file's hash; True if this upload is the first with it, however often it is asked."""
        await self._seen.update_one(
            {"_id": sha256}, {"$setOnInsert": {"at": utc_now(), "upload": upload_uid}}, upsert=True
        )
        return await self._seen.find_one({"_id": sha256, "upload": upload_uid}) is not None

    async def put_upload(self, upload: Upload) -> None:
        """Keep an upload until its time is over."""
        document = {
            "filename": upload.filename,
            "blob_id": upload.blob_id,
            "sha256": upload.sha256,
            "size": upload.size,
            "is_new": upload.is_new,
            "expires_at": upload.expires_at,
            **_reading_fields(upload.reading),
        }
        await self._uploads.replace_one({"_id": upload.uid}, document, upsert=True)

    async def upload(self, uid: str) -> Upload | None:
        """One upload, or None."""
        found = await self._uploads.find_one({"_id": uid})
        if found is None:
            return None
        return Upload(
            uid=found["_id"],
            filename=found["filename"],
            blob_id=found["blob_id"],
            sha256=found["sha256"],
            size=found["size"],
            is_new=found["is_new"],
            reading=_to_reading(found),
            expires_at=found["expires_at"],
        )

    async def read_upload_so(self, uid: str, reading: Reading) -> None:
        """Remember how the upload is to be read."""
        await self._uploads.update_one({"_id": uid}, {"$set": _reading_fields(reading)})

    async def insert_dataset(self, saved: SavedDataset) -> None:
        """Store a dataset.

        Raises:
            IdTaken: its id is another's.
            SavedBefore: it is automatic, and its upload has an automatic dataset.
        """
        document: Document = {
            "_id": saved.dataset.uid,
            **saved.dataset.model_dump(by_alias=False, exclude={"uid"}),
            "rows_blob": saved.rows_blob,
            "rows_sha256": saved.rows_sha256,
            "rows_before": saved.rows_before,
            "upload_id": saved.upload_id,
        }
        if saved.automatic:
            document["automatic_of"] = saved.upload_id
        try:
            await self._datasets.insert_one(document)
        except DuplicateKeyError as error:
            keys = (error.details or {}).get("keyPattern", {})
            raise SavedBefore if "automatic_of" in keys else IdTaken from None

    async def dataset(self, reference: str) -> SavedDataset | None:
        """By uid, else by id, else the first that was made of this upload; or None.

        One that is being deleted is not there.
        """
        for key in ("_id", "id", "upload_id"):
            found = await self._datasets.find_one(
                {key: reference, **_there()}, sort=[("created_at", ASCENDING)]
            )
            if found is not None:
                return _to_saved(found)
        return None

    async def change_dataset(self, uid: str, changes: Document) -> Dataset | None:
        """Set fields; None if it is not there any more."""
        found = await self._datasets.find_one_and_update(
            {"_id": uid, **_there()}, {"$set": changes}, return_document=ReturnDocument.AFTER
        )
        return _to_saved(found).dataset if found else None

    async def set_csv_blob(self, uid: str, blob_id: str) -> str | None:
        """Note where the rows are as CSV, unless that is noted; returns what is noted then, or None."""
        await self._datasets.update_one(
            {"_id": uid, "csv_blob": None, **_there()}, {"$set": {"csv_blob": blob_id}}
        )
        found = await self._datasets.find_one({"_id": uid, **_there()}, {"csv_blob": True})
        return found["csv_blob"] if found else None

    async def hide(self, uid: str) -> SavedDataset | None:
        """Nobody finds the dataset for a minute, in which it is deleted; None if it is not there."""
        found = await self._datasets.find_one_and_update(
            {"_id": uid, **_there()}, {"$set": {"hidden_until": utc_now() + _HIDDEN_FOR}}
        )
        return _to_saved(found) if found else None

    async def show(self, uid: str) -> None:
        """End `hide`."""
        await self._datasets.update_one({"_id": uid}, {"$unset": {"hidden_until": ""}})

    async def delete(self, uid: str) -> bool:
        """Hide a hidden dataset for good, and free its id and its upload; False if it shows again."""
        now = utc_now()
        changed = await self._datasets.update_one(
            {"_id": uid, "hidden_until": {"$gt": now}, **_LIVING},
            # Every document needs an id of its own: the index is unique.
            {"$set": {"deleted_at": now, "id": uid}, "$unset": {"automatic_of": ""}},
        )
        return changed.modified_count == 1

    async def deleted(self) -> list[SavedDataset]:
        """Tombstones: datasets whose deletion is not finished."""
        cursor = self._datasets.find({"deleted_at": {"$type": "date"}}).limit(_MOST_AT_ONCE)
        return [_to_saved(found) async for found in cursor]

    async def purge(self, uid: str) -> None:
        """Remove a tombstone, once its files are gone."""
        await self._datasets.delete_one({"_id": uid, "deleted_at": {"$type": "date"}})

    async def has_id(self, wanted: str) -> bool:
        """Whether a dataset has this id."""
        return await self._datasets.find_one({"id": wanted}, {"_id": True}) is not None

    async def datasets(self, limit: int) -> list[Dataset]:
        """The newest first."""
        cursor = (
            self._datasets.find(_there()).sort([("created_at", DESCENDING), ("_id", DESCENDING)]).limit(limit)
        )
        return [_to_saved(document).dataset async for document in cursor]


def _there() -> Document:
    hidden: dict[str, Any] = {"$gt": utc_now()}
    return {"hidden_until": {"$not": hidden}, **_LIVING}


def _reading_fields(reading: Reading) -> Document:
    return {
        "input_column": reading.mapping.input,
        "output_column": reading.mapping.output,
        "format": reading.format.value,
        "encoding": reading.encoding,
    }


def _to_reading(found: Document) -> Reading:
    return Reading(
        mapping=Mapping(found["input_column"], found["output_column"]),
        format=FileFormat(found.get("format", FileFormat.CSV)),
        encoding=found.get("encoding", UTF_8),
    )


def _to_saved(document: Document) -> SavedDataset:
    return SavedDataset(
        dataset=Dataset.model_validate({**document, "uid": document["_id"]}),
        rows_blob=document["rows_blob"],
        rows_sha256=document["rows_sha256"],
        rows_before=document.get("rows_before", [0]),
        upload_id=document["upload_id"],
        automatic="automatic_of" in document,
        csv_blob=document.get("csv_blob"),
    )
