"""One job's document: every write is a compare-and-set on it, and it also holds its history and its outbox.

A deleted job stays as a tombstone, unseen by every question of a client,
until its files are gone and the stream has its last event.
"""

from collections.abc import Sequence
from typing import Any

from pymongo import ASCENDING, DESCENDING, ReturnDocument
from pymongo.errors import DuplicateKeyError

from tunedeck_chassis.mongo import Client, Document
from tunedeck_contracts.checkpoints import Checkpoint
from tunedeck_contracts.events import JobEvent
from tunedeck_contracts.jobs import CURRENT, Job, Status, Wanted
from tunedeck_contracts.runs import Beat, Claim, Report
from tunedeck_contracts.training import LogLine
from tunedeck_jobs.lifecycle import Change, Facts, Guard
from tunedeck_jobs.record import JobRecord, KeyTaken, NewJob, PendingEvent, Submitted
from tunedeck_jobs.repository import conditions, documents
from tunedeck_jobs.repository.changes import change_pipeline
from tunedeck_jobs.repository.conditions import LIVING

QUEUE_ORDER = [("priority", DESCENDING), ("created_at", ASCENDING), ("_id", ASCENDING)]
NOTHING_KNOWN = Facts()


class JobRepository:
    """The only place that writes a job's document. Times of leases and deadlines are MongoDB's own."""

    def __init__(self, client: Client, database: str) -> None:
        self._jobs = client[database]["jobs"]

    async def prepare(self) -> None:
        """Create the indexes, and give jobs of former versions what they lack."""
        dated: Document = {"$type": "date"}
        await self._jobs.create_index([("status", ASCENDING), *QUEUE_ORDER])
        await self._jobs.create_index([("lease.claim_id", ASCENDING)], sparse=True, unique=True)
        await self._jobs.create_index([("outbox.rev", ASCENDING)], sparse=True)
        await self._jobs.create_index([("checkpoints.blob.id", ASCENDING)], sparse=True)
        await self._jobs.create_index([("released", ASCENDING)], sparse=True)
        await self._jobs.create_index(
            [("deleted_at", ASCENDING)], partialFilterExpression={"deleted_at": dated}
        )
        await self._jobs.create_index(
            [("status", ASCENDING), ("deadline", ASCENDING)], partialFilterExpression={"deadline": dated}
        )
        await self._jobs.create_index(
            [("submission.owner", ASCENDING), ("submission.key", ASCENDING)],
            unique=True,
            partialFilterExpression={"submission.key": {"$type": "string"}},
        )
        for lacking, update in documents.upgrades():
            await self._jobs.update_many(lacking, update)

    async def insert(self, new: NewJob) -> JobRecord:
        """Store a new job; queued when it is pinned.

        Raises:
            KeyTaken: the submission has made a job already.
        """
        document = documents.new_document(new)
        try:
            await self._jobs.insert_one(document)
        except DuplicateKeyError:
            if new.submission is None:
                raise
            raise KeyTaken from None
        return documents.to_record(document)

    async def submitted(self, owner: str, key: str) -> Submitted | None:
        """What a request with this key has made, or None; also when that job was deleted."""
        query: Document = {"submission.owner": owner, "submission.key": key, **LIVING}
        found = await self._jobs.find_one(query, {"submission": True})
        if found is None:
            return None
        stored = found["submission"]
        return Submitted(stored["body_sha256"], Job.model_validate_json(stored["job"]))

    async def get(self, uid: str) -> JobRecord | None:
        """One job, or None."""
        return _record(await self._jobs.find_one({"_id": uid, **LIVING}, documents.READ))

    async def events(self, uid: str) -> list[JobEvent] | None:
        """What happened to a job, oldest first, or None."""
        shown = {**documents.EVENT_FIELDS, "events": True}
        found = await self._jobs.find_one({"_id": uid, **LIVING}, shown)
        return [documents.to_event(found, entry) for entry in found["events"]] if found else None

    async def last_lines(self, uid: str) -> list[LogLine]:
        """What the last run of a job has left of its log."""
        found = await self._jobs.find_one({"_id": uid, **LIVING}, {"log": True})
        return [LogLine.model_validate(line) for line in found["log"]] if found else []

    async def set_problems(self, uid: str, problems: Sequence[str]) -> None:
        """Say what a created job lacks now."""
        await self._jobs.update_one(
            {"_id": uid, "status": Status.CREATED.value, **LIVING}, {"$set": {"problems": list(problems)}}
        )

    async def apply(
        self,
        uid: str,
        change: Change,
        facts: Facts = NOTHING_KNOWN,
        *also: Guard,
        set_fields: Document | None = None,
        raise_fence: bool = False,
    ) -> JobRecord | None:
        """Make one change if the job's state and the rule's guards allow it, else return None.

        `also` are guards of this one call; `set_fields` are expressions.
        """
        return _record(
            await self._jobs.find_one_and_update(
                {"_id": uid, **conditions.query(change, facts, *also)},
                change_pipeline(change, set_fields or {}, raise_fence=raise_fence),
                projection=documents.READ,
                return_document=ReturnDocument.AFTER,
            )
        )

    async def claimed_before(self, claim_id: str) -> JobRecord | None:
        """The running job that this very claim got, when its reply was lost."""
        return _record(
            await self._jobs.find_one(
                {"lease.claim_id": claim_id, "status": Status.RUNNING.value}, documents.READ
            )
        )

    async def claim(self, claim: Claim, facts: Facts, lease_seconds: float) -> JobRecord | None:
        """Give the first queued job that the worker can run to it: next fence, next attempt, a lease."""
        lease = {
            "worker": documents.literal(claim.worker),
            "devices": documents.literal(claim.devices),
            "claim_id": documents.literal(claim.claim_id),
            "since": "$$NOW",
            "until": _from_now(lease_seconds),
        }
        try:
            document = await self._jobs.find_one_and_update(
                conditions.query(Change.CLAIM, facts),
                change_pipeline(Change.CLAIM, {"lease": lease}),
                sort=QUEUE_ORDER,
                projection=documents.READ,
                return_document=ReturnDocument.AFTER,
            )
        except DuplicateKeyError:
            # The same claim, sent again, was quicker.
            return await self.claimed_before(claim.claim_id)
        return _record(document)

    async def beat(self, beat: Beat, lease_seconds: float) -> JobRecord | None:
        """Renew the lease and keep the newest point; None of a job that is lost, or past its deadline.

        A cancel that was wanted before the deadline is carried out after it.
        """
        document = await self._jobs.find_one_and_update(
            {
                "_id": beat.job_uid,
                "fence": beat.fence,
                "status": Status.RUNNING.value,
                "$or": [conditions.in_time(), {"wanted": Wanted.CANCEL.value}],
            },
            [{"$set": {"lease.until": _from_now(lease_seconds), **documents.progress(beat)}}],
            projection=documents.READ,
            return_document=ReturnDocument.AFTER,
        )
        return _record(document)

    async def register(
        self, uid: str, facts: Facts, checkpoints: Sequence[Checkpoint], released: Sequence[str]
    ) -> JobRecord | None:
        """Name the job's checkpoints anew, newest first, and the blobs that it lets go.

        A newer step than ever before gives back all attempts.
        """
        newest = checkpoints[0].step
        fields: Document = {
            "checkpoints": documents.literal([one.model_dump() for one in checkpoints]),
            "released": {"$concatArrays": ["$released", documents.literal(list(released))]},
            "lost": {"$cond": [{"$gt": [newest, "$newest_step"]}, 0, "$lost"]},
            "newest_step": {"$max": ["$newest_step", newest]},
        }
        return await self.apply(uid, Change.CHECKPOINT, facts, set_fields=fields)

    async def reported(self, report: Report) -> bool:
        """Whether this report is stored already: its reply may have been lost."""
        stored = {"reported_fence": report.fence, "reported_outcome": report.outcome.value}
        return await self._jobs.find_one({"_id": report.job_uid, **stored}, {"_id": True}) is not None

    async def expired(self) -> list[JobRecord]:
        """Running jobs whose lease ran out."""
        return await self._some({"status": Status.RUNNING.value, **conditions.lease_over()})

    async def overdue(self) -> list[JobRecord]:
        """Jobs that have not ended by their deadline."""
        current = [status.value for status in CURRENT]
        return await self._some({"status": {"$in": current}, **conditions.overdue(), **LIVING})

    async def unpublished(self, limit: int = 100) -> list[list[PendingEvent]]:
        """Outboxes with something in them: the events of each job in order."""
        shown = {**documents.EVENT_FIELDS, "outbox": True}
        waiting = self._jobs.find({"outbox.rev": {"$exists": True}}, shown)
        cursor = waiting.sort("last_modified", ASCENDING).limit(limit)
        return [
            [PendingEvent(documents.to_event(found, entry)) for entry in found["outbox"]]
            async for found in cursor
        ]

    async def published(self, uid: str, rev: int) -> None:
        """Take a published event out of the outbox."""
        await self._jobs.update_one({"_id": uid}, {"$pull": {"outbox": {"rev": rev}}})

    async def deleted(self) -> list[JobRecord]:
        """Tombstones: jobs whose deletion is not finished."""
        return await self._some({"deleted_at": {"$type": "date"}})

    async def purge(self, uid: str) -> bool:
        """Remove a tombstone whose events are all published; return whether it is gone."""
        result = await self._jobs.delete_one({"_id": uid, "deleted_at": {"$type": "date"}, "outbox": []})
        return result.deleted_count == 1

    async def with_released(self) -> list[JobRecord]:
        """Jobs that have let blobs go."""
        return await self._some({"released": {"$gte": ""}, **LIVING})

    async def is_used_elsewhere(self, uid: str, blob_id: str) -> bool:
        """Whether another job goes on from this checkpoint."""
        query: Document = {"checkpoints.blob.id": blob_id, "_id": {"$ne": uid}, **LIVING}
        return await self._jobs.find_one(query, {"_id": True}) is not None

    async def let_go(self, uid: str, blob_id: str) -> None:
        """The blob is another job's, or gone."""
        await self._jobs.update_one({"_id": uid}, {"$pull": {"released": blob_id}})

    async def _some(self, query: Document) -> list[JobRecord]:
        return [
            documents.to_record(found) async for found in self._jobs.find(query, documents.READ).limit(100)
        ]


def _record(document: Any) -> JobRecord | None:
    return documents.to_record(document) if document else None


def _from_now(seconds: float) -> Document:
    return {"$add": ["$$NOW", int(seconds * 1000)]}
