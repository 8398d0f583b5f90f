"""Points in bucket documents of 100, each set under its own number: a point stored twice is stored once."""

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from bson import encode
from bson.errors import BSONError
from pymongo import ASCENDING, DESCENDING, UpdateOne
from pymongo.errors import DuplicateKeyError

from tunedeck_chassis.mongo import Client, Document
from tunedeck_contracts.jobs import Status
from tunedeck_contracts.message import Message
from tunedeck_telemetry.ownership import Tenure
from tunedeck_telemetry.projection import KnownJob, Totals

BUCKET = 100
IDLE_KEPT = timedelta(hours=24)
IDLE_FENCE = 0
_LAST_REV = 2**62
"""Of a deleted job: no event of it is newer."""
MOST_BYTES = 128 * 1024
"""Of one point: a bucket of 100 stays below MongoDB's 16 MiB."""


class Kind(StrEnum):
    """What is stored under its own numbers."""

    LOSS = "loss"
    RESOURCES = "resources"
    LOG = "log"


@dataclass(frozen=True)
class Point:
    """One thing to store: its key and its value."""

    kind: Kind
    job_id: str
    fence: int
    number: int
    at: datetime
    value: Message


class TelemetryRepository:
    """The only place that knows telemetry's documents."""

    def __init__(self, client: Client, database: str) -> None:
        self._points = client[database]["points"]
        self._jobs = client[database]["jobs"]
        self._totals = client[database]["totals"]

    async def prepare(self) -> None:
        """Create the indexes."""
        key = [("kind", ASCENDING), ("job", ASCENDING), ("fence", ASCENDING), ("bucket", ASCENDING)]
        await self._points.create_index(key, unique=True)
        await self._points.create_index([("kind", ASCENDING), ("fence", ASCENDING), ("to", DESCENDING)])
        await self._points.create_index([("expires_at", ASCENDING)], expireAfterSeconds=0)
        await self._jobs.create_index([("started_at", DESCENDING)])

    async def store(self, points: Sequence[Point]) -> None:
        """Store a batch, in any order, as often as it comes."""
        if points:
            await self._points.bulk_write([_update(point) for point in points], ordered=False)

    async def set_totals(self, job_id: str, fence: int, totals: Totals) -> None:
        """Keep what the newest run says of its length; a run can only turn out to be shorter."""
        # Not in the job's document: a run's first point may be here before the job's first event.
        told = {"_id": job_id, "fence": fence, **totals.__dict__}
        stored = {"$ifNull": ["$fence", 0]}
        is_shorter = {"$and": [{"$eq": [stored, fence]}, {"$lt": ["$steps", totals.steps]}]}
        is_newer = {"$or": [{"$gt": [stored, fence]}, is_shorter]}
        await self._totals.update_one(
            {"_id": job_id},
            [{"$replaceWith": {"$cond": [is_newer, "$$ROOT", {"$literal": told}]}}],
            upsert=True,
        )

    async def forget(self, job_id: str) -> int:
        """Remove all of a deleted job but the mark that it is deleted; return how many values it had.

        The mark comes first: from then on `drop_deleted` removes what is stored by others meanwhile.
        """
        await self._jobs.replace_one({"_id": job_id}, {"rev": _LAST_REV, "deleted": True}, upsert=True)
        return await self._remove(job_id)

    async def drop_deleted(self, job_ids: set[str]) -> None:
        """Remove what was stored of jobs that are deleted. Call it after storing."""
        marked = self._jobs.find({"_id": {"$in": list(job_ids)}, "deleted": True}, {"_id": True})
        async for job in marked:
            await self._remove(job["_id"])

    async def is_deleted(self, job_id: str) -> bool:
        """Whether the job is known to be deleted."""
        return await self._jobs.find_one({"_id": job_id, "deleted": True}, {"_id": True}) is not None

    async def _remove(self, job_id: str) -> int:
        points: Document = {"kind": {"$in": [kind.value for kind in Kind]}, "job": job_id}
        count = {"$sum": {"$size": {"$objectToArray": "$p"}}}
        counted = await self._points.aggregate([{"$match": points}, {"$group": {"_id": None, "n": count}}])
        removed = [int(one["n"]) async for one in counted]
        await self._points.delete_many(points)
        await self._totals.delete_one({"_id": job_id})
        return sum(removed)

    async def newest(
        self,
        kind: Kind,
        job_id: str,
        fences: Sequence[int],
        *,
        after: int = 0,
        upto: int | None = None,
        count: int,
    ) -> list[Document]:
        """The newest values with `after < number <= upto`, by number; of the oldest fence that has each."""
        found: list[Document] = []
        async for buckets in self._by_number(_span(kind, job_id, fences, after, upto), DESCENDING):
            found = _values(buckets, after, upto) + found
            if len(found) >= count:
                break
        return found[-count:]

    async def first(
        self, kind: Kind, job_id: str, fences: Sequence[int], *, after: int, upto: int | None, count: int
    ) -> list[Document]:
        """The first values with `after < number <= upto`; of the oldest fence that has each."""
        found: list[Document] = []
        async for buckets in self._by_number(_span(kind, job_id, fences, after, upto), ASCENDING):
            found += _values(buckets, after, upto)
            if len(found) >= count:
                break
        return found[:count]

    async def _by_number(self, query: Document, order: int) -> AsyncIterator[list[Document]]:
        """The buckets of the same numbers together, of the oldest fence first."""
        together: list[Document] = []
        async for bucket in self._points.find(query).sort("bucket", order):
            if together and bucket["bucket"] != together[0]["bucket"]:
                yield sorted(together, key=lambda one: one["fence"])
                together = []
            together.append(bucket)
        if together:
            yield sorted(together, key=lambda one: one["fence"])

    async def between(
        self, kind: Kind, job_id: str, fence: int, start: datetime, end: datetime
    ) -> list[Document]:
        """The values taken from `start` to `end` (whole buckets) and the bucket before, by time."""
        run = {"kind": kind.value, "job": job_id, "fence": fence}
        before = self._points.find({**run, "to": {"$lt": start}}).sort("bucket", DESCENDING).limit(1)
        during = self._points.find({**run, "to": {"$gte": start}, "from": {"$lte": end}})
        buckets = [one async for one in before] + [one async for one in during.sort("bucket", ASCENDING)]
        return [value for bucket in buckets for value in _values([bucket], 0, None)]

    async def stored_up_to(self, kind: Kind, job_id: str, fence: int, after: int) -> int:
        """The highest number such that every number from `after` + 1 to it is stored."""
        reached = after
        query = _span(kind, job_id, (fence,), after, None)
        async for bucket in self._points.find(query).sort("bucket", ASCENDING):
            while str(reached + 1) in bucket["p"]:
                reached += 1
            if reached + 1 < (bucket["bucket"] + 1) * BUCKET:
                break
        return reached

    async def fences(self, kind: Kind, job_id: str) -> list[int]:
        """The fences that have told something of this kind."""
        return sorted(await self._points.distinct("fence", {"kind": kind.value, "job": job_id}))

    async def idle_samples(self, count: int) -> list[Document]:
        """The newest samples of the idle trainer heard last, oldest first."""
        query = {"kind": Kind.RESOURCES.value, "fence": IDLE_FENCE}
        newest = await self._points.find_one(query, sort=[("to", DESCENDING)])
        if newest is None:
            return []
        found: list[Document] = []
        async for bucket in self._points.find({**query, "job": newest["job"]}).sort("to", DESCENDING):
            found += _values([bucket], 0, None)
            if len(found) >= count:
                break
        return sorted(found, key=lambda value: value["timestamp"])[-count:]

    async def known(self, uid: str) -> KnownJob | None:
        """The projection of a job, or None."""
        document = await self._jobs.find_one({"_id": uid, "deleted": {"$ne": True}})
        return await self._known(document) if document else None

    async def started_last(self) -> KnownJob | None:
        """The job that a trainer took up last."""
        document = await self._jobs.find_one({"started_at": {"$ne": None}}, sort=[("started_at", DESCENDING)])
        return await self._known(document) if document else None

    async def _known(self, document: Document) -> KnownJob:
        totals = await self._totals.find_one({"_id": document["_id"]}) or {}
        return _known(
            document, Totals(totals.get("points", 0), totals.get("steps", 0), totals.get("epochs", 0))
        )

    async def project(self, known: KnownJob) -> None:
        """Store a job's newest state; an older revision only adds its tenures."""
        fields = {
            "rev": known.rev,
            "status": known.status.value,
            "training_mode": known.training_mode,
            "fence": known.fence,
            "total_epochs": known.total_epochs,
            "started_at": known.started_at,
            "ended_at": known.ended_at,
            "last_iteration": known.last_iteration,
        }
        # A duplicate key: the job is there with this revision or a newer one.
        with suppress(DuplicateKeyError):
            await self._jobs.update_one(
                {"_id": known.uid, "rev": {"$lt": known.rev}},
                {"$set": fields, "$setOnInsert": {"tenures": []}},
                upsert=True,
            )
        if known.tenures:
            held = [tenure.__dict__ for tenure in known.tenures]
            await self._jobs.update_one(
                {"_id": known.uid, "deleted": {"$ne": True}}, {"$addToSet": {"tenures": {"$each": held}}}
            )


def check_storable(recorded: Message, point: Point) -> None:
    """Refuse what no document can hold: within a batch it would fail all that came with it.

    Raises:
        ValueError: a number of more than 8 bytes, a time out of range, or more than MOST_BYTES.
    """
    try:
        size = len(encode(recorded.model_dump()))
        _update(point)
    except (OverflowError, BSONError) as error:
        raise ValueError(f"It cannot be stored: {error}.") from error
    if size > MOST_BYTES:
        raise ValueError(f"It cannot be stored: it has {size} bytes, {MOST_BYTES} are allowed.")


def _update(point: Point) -> UpdateOne:
    key = {
        "kind": point.kind.value,
        "job": point.job_id,
        "fence": point.fence,
        "bucket": point.number // BUCKET,
    }
    fields: Document = {f"p.{point.number}": point.value.model_dump()}
    latest: Document = {"to": point.at}
    if point.fence == IDLE_FENCE:
        latest["expires_at"] = point.at + IDLE_KEPT
    return UpdateOne(key, {"$set": fields, "$min": {"from": point.at}, "$max": latest}, upsert=True)


def _span(kind: Kind, job_id: str, fences: Sequence[int], after: int, upto: int | None) -> Document:
    buckets: Document = {"$gte": (after + 1) // BUCKET}
    if upto is not None:
        buckets["$lte"] = upto // BUCKET
    return {"kind": kind.value, "job": job_id, "fence": {"$in": list(fences)}, "bucket": buckets}


def _values(buckets: Sequence[Document], after: int, upto: int | None) -> list[Document]:
    """What buckets of the same numbers hold, by number; of two with a number, the first's."""
    told: dict[int, Document] = {}
    for bucket in buckets:
        for number, value in bucket["p"].items():
            told.setdefault(int(number), {**value, "fence": bucket["fence"]})
    return [told[number] for number in sorted(told) if number > after and (upto is None or number <= upto)]


def _known(document: Document, totals: Totals) -> KnownJob:
    return KnownJob(
        uid=document["_id"],
        rev=document["rev"],
        status=Status(document["status"]),
        training_mode=document["training_mode"],
        fence=document["fence"],
        total_epochs=document["total_epochs"],
        started_at=document["started_at"],
        ended_at=document["ended_at"],
        last_iteration=document["last_iteration"],
        tenures=tuple(Tenure(**tenure) for tenure in document["tenures"]),
        totals=totals,
    )
