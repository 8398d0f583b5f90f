"""Uploads and datasets."""

from pymongo import ASCENDING, DESCENDING
from pymongo.errors import DuplicateKeyError

from tunedeck_catalog.csv_check import Mapping
from tunedeck_catalog.records import SavedDataset, Upload
from tunedeck_chassis.mongo import Client, Document
from tunedeck_contracts.datasets import Dataset
from tunedeck_contracts.message import utc_now


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

    async def first_sight(self, sha256: str) -> bool:
        """Note a file's hash; True if it was never noted before."""
        result = await self._seen.update_one(
            {"_id": sha256}, {"$setOnInsert": {"at": utc_now()}}, upsert=True
        )
        return result.upserted_id is not None

    async def insert_upload(self, upload: Upload) -> None:
        """Keep an upload until its time is over."""
        await self._uploads.insert_one(
            {
                "_id": upload.uid,
                "filename": upload.filename,
                "blob_id": upload.blob_id,
                "sha256": upload.sha256,
                "size": upload.size,
                "is_new": upload.is_new,
                "input_column": upload.mapping.input,
                "output_column": upload.mapping.output,
                "expires_at": upload.expires_at,
            }
        )

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
            mapping=Mapping(found["input_column"], found["output_column"]),
            expires_at=found["expires_at"],
        )

    async def map_upload(self, uid: str, mapping: Mapping) -> None:
        """Remember which columns hold input and output."""
        await self._uploads.update_one(
            {"_id": uid}, {"$set": {"input_column": mapping.input, "output_column": mapping.output}}
        )

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
        """By uid, else by id, else the first that was made of this upload; or None."""
        for key in ("_id", "id", "upload_id"):
            found = await self._datasets.find_one({key: reference}, sort=[("created_at", ASCENDING)])
            if found is not None:
                return _to_saved(found)
        return None

    async def has_id(self, wanted: str) -> bool:
        """Whether a dataset has this id."""
        return await self._datasets.find_one({"id": wanted}, {"_id": True}) is not None

    async def datasets(self, limit: int) -> list[Dataset]:
        """The newest first."""
        cursor = self._datasets.find().sort([("created_at", DESCENDING), ("_id", DESCENDING)]).limit(limit)
        return [_to_saved(document).dataset async for document in cursor]


def _to_saved(document: Document) -> SavedDataset:
    return SavedDataset(
        dataset=Dataset.model_validate({**document, "uid": document["_id"]}),
        rows_blob=document["rows_blob"],
        rows_sha256=document["rows_sha256"],
        upload_id=document["upload_id"],
        automatic="automatic_of" in document,
    )
