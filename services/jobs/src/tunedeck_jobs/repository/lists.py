"""Questions about many jobs: pages by keyset, counts, who uses a dataset, the best result."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

from pymongo import ASCENDING, DESCENDING

from tunedeck_chassis.mongo import Client, Document
from tunedeck_contracts.job_lists import JobFilters, JobSort
from tunedeck_contracts.jobs import CURRENT, Status, TrainingMode
from tunedeck_jobs.pages import Place
from tunedeck_jobs.record import JobRecord
from tunedeck_jobs.repository import documents
from tunedeck_jobs.repository.conditions import LIVING

_FIELDS = {"createdAt": "created_at", "lastModified": "last_modified", "name": "name", "status": "status"}
MOST_USERS = 100
_BATCH = 200
"""Jobs that are read and made at a time: a job is long, and thousands would hold up the loop."""


class JobLists:
    """Reads the jobs' collection; writes nothing."""

    def __init__(self, client: Client, database: str) -> None:
        self._jobs = client[database]["jobs"]

    async def prepare(self) -> None:
        """Create the indexes of the orders that a list has."""
        for field in ("created_at", "last_modified", "name"):
            await self._jobs.create_index([(field, ASCENDING), ("_id", ASCENDING)])

    async def find(
        self, filters: JobFilters, statuses: Sequence[Status], after: Place | None, limit: int = 0
    ) -> AsyncIterator[list[JobRecord]]:
        """The jobs after a place, in the order of the filters, some at a time; `limit` 0 has no end."""
        field, direction = _order(filters.sort)
        conditions: list[Document] = [LIVING, *_conditions(filters, statuses)]
        if after is not None:
            beyond = "$gt" if direction == ASCENDING else "$lt"
            further = {field: after.value, "_id": {beyond: after.uid}}
            conditions.append({"$or": [{field: {beyond: after.value}}, further]})
        found = self._jobs.find({"$and": conditions}, documents.LISTED).sort(
            [(field, direction), ("_id", direction)]
        )
        async with found.limit(limit).batch_size(_BATCH) as cursor:
            while batch := await cursor.to_list(_BATCH):
                yield await asyncio.to_thread(_records, batch)

    async def some(self, uids: Sequence[str]) -> dict[str, JobRecord]:
        """Those of the jobs that there are."""
        cursor = self._jobs.find({"_id": {"$in": list(uids)}, **LIVING})
        return {found["_id"]: documents.to_record(found) async for found in cursor}

    async def counts(self) -> dict[Status, int]:
        """How many jobs are in each state."""
        cursor = await self._jobs.aggregate(
            [{"$match": LIVING}, {"$group": {"_id": "$status", "count": {"$sum": 1}}}]
        )
        found = {Status(one["_id"]): int(one["count"]) async for one in cursor}
        return {status: found.get(status, 0) for status in Status}

    async def using_dataset(self, dataset: str, also: Sequence[str]) -> list[str]:
        """Jobs that have not ended and train on the dataset, or will; `also` are its other names."""
        query: Document = {
            "status": {"$in": [one.value for one in CURRENT]},
            "$or": [
                {"configuration.dataset.uid": {"$in": [dataset, *also]}},
                {"pinned.dataset.uid": dataset},
            ],
            **LIVING,
        }
        cursor = self._jobs.find(query, {"_id": True}).sort("created_at", ASCENDING).limit(MOST_USERS)
        return [found["_id"] async for found in cursor]

    async def best(self, mode: TrainingMode | None, dataset: str | None) -> JobRecord | None:
        """The completed job with the lowest validation loss after training, or None."""
        # The bound leaves out infinity, and NaN, which MongoDB sorts before every number.
        query: Document = {
            "status": Status.COMPLETED.value,
            "result.validation_loss_after": {"$lt": float("inf")},
            **LIVING,
        }
        if mode is not None:
            query["training_mode"] = mode.value
        if dataset is not None:
            query["configuration.dataset.uid"] = dataset
        order = [("result.validation_loss_after", ASCENDING), ("created_at", ASCENDING)]
        document = await self._jobs.find_one(query, sort=order)
        return documents.to_record(document) if document else None


def _records(batch: list[Document]) -> list[JobRecord]:
    return [documents.to_record(document) for document in batch]


def _order(sort: JobSort) -> tuple[str, int]:
    return _FIELDS[sort.removeprefix("-")], DESCENDING if sort.startswith("-") else ASCENDING


def _conditions(filters: JobFilters, statuses: Sequence[Status]) -> list[Document]:
    conditions: list[Document] = [{"status": {"$in": [one.value for one in statuses]}}]
    if filters.q:
        # A regular expression of MongoDB cannot hold a NUL as it is.
        text: Any = {"$regex": re.escape(filters.q).replace("\0", r"\x00"), "$options": "i"}
        conditions.append({"$or": [{field: text} for field in ("name", "description", "_id")]})
    if filters.tag is not None:
        conditions.append({"tags": filters.tag})
    return conditions
