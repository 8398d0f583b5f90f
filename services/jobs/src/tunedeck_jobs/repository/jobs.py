"""One job's document: every write is a compare-and-set on it, and it also holds its outbox.

A deleted job stays as a tombstone, unseen by every question of a client,
until its files are gone and the stream has its last event.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pymongo import ASCENDING, ReturnDocument
from pymongo.errors import DuplicateKeyError

from tunedeck_chassis.mongo import Client, Document
from tunedeck_contracts.jobs import Job, Status
from tunedeck_contracts.runs import Beat
from tunedeck_jobs.lifecycle import RULES, Change
from tunedeck_jobs.record import JobRecord, KeyTaken, PendingEvent, Pinned, Submission, Submitted
from tunedeck_jobs.repository import documents
from tunedeck_jobs.repository.documents import LIVING


class JobRepository:
    """The only place that knows a job's document. Times of leases are MongoDB's own."""

    def __init__(self, client: Client, database: str) -> None:
        self._jobs = client[database]["jobs"]

    async def prepare(self) -> None:
        """Create the indexes."""
        await self._jobs.create_index([("status", ASCENDING), ("created_at", ASCENDING)])
        await self._jobs.create_index([("lease.claim_id", ASCENDING)], sparse=True, unique=True)
        await self._jobs.create_index([("outbox.rev", ASCENDING)], sparse=True)
        await self._jobs.create_index(
            [("deleted_at", ASCENDING)], partialFilterExpression={"deleted_at": {"$type": "date"}}
        )
        await self._jobs.create_index(
            [("submission.owner", ASCENDING), ("submission.key", ASCENDING)],
            unique=True,
            partialFilterExpression={"submission.key": {"$type": "string"}},
        )

    async def insert(
        self, job: Job, notes: Sequence[str], pinned: Pinned | None, submission: Submission | None
    ) -> JobRecord:
        """Store a new job; queued when it is pinned.

        Raises:
            KeyTaken: the submission has made a job already.
        """
        document = documents.new_document(job, notes, pinned)
        record = documents.to_record(document)
        if submission is not None:
            document["submission"] = documents.submission_of(submission, record.job)
        try:
            await self._jobs.insert_one(document)
        except DuplicateKeyError:
            if submission is None:
                raise
            raise KeyTaken from None
        return record

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
        document = await self._jobs.find_one({"_id": uid, **LIVING})
        return documents.to_record(document) if document else None

    async def set_problems(self, uid: str, problems: Sequence[str]) -> None:
        """Say what a created job lacks now."""
        await self._jobs.update_one(
            {"_id": uid, "status": Status.CREATED.value, **LIVING}, {"$set": {"problems": list(problems)}}
        )

    async def apply(
        self, uid: str, change: Change, *, expect: Document | None = None, set_fields: Document | None = None
    ) -> JobRecord | None:
        """Make one change of state if the job is in a state that allows it, else return None.

        `expect` narrows the comparison (a fence, say); `set_fields` are expressions.
        """
        document = await self._jobs.find_one_and_update(
            {"_id": uid, "status": {"$in": _sources(change)}, **LIVING, **(expect or {})},
            documents.change_pipeline(change, set_fields or {}),
            return_document=ReturnDocument.AFTER,
        )
        return documents.to_record(document) if document else None

    async def claimed_before(self, claim_id: str) -> JobRecord | None:
        """The running job that this very claim got, when its reply was lost."""
        document = await self._jobs.find_one({"lease.claim_id": claim_id, "status": Status.RUNNING.value})
        return documents.to_record(document) if document else None

    async def claim(self, worker: str, claim_id: str, lease_seconds: float) -> JobRecord | None:
        """Give the oldest queued job to the worker: next fence, next attempt, a lease."""
        try:
            document = await self._claimed(worker, claim_id, lease_seconds)
        except DuplicateKeyError:
            # The same claim, sent again, was quicker.
            return await self.claimed_before(claim_id)
        return documents.to_record(document) if document else None

    async def _claimed(self, worker: str, claim_id: str, lease_seconds: float) -> Document | None:
        return await self._jobs.find_one_and_update(
            {"status": {"$in": _sources(Change.CLAIM)}},
            documents.change_pipeline(
                Change.CLAIM,
                {
                    "fence": {"$add": ["$fence", 1]},
                    "attempt": {"$add": ["$attempt", 1]},
                    "lease": {
                        "worker": documents.literal(worker),
                        "claim_id": documents.literal(claim_id),
                        "until": _from_now(lease_seconds),
                    },
                    "point": None,
                    "training.started_at": {"$ifNull": ["$training.started_at", "$$NOW"]},
                    "training.phase": "preparing",
                    "training.progress": 0.0,
                    "training.current_step": 0,
                },
            ),
            sort=[("created_at", ASCENDING), ("_id", ASCENDING)],
            return_document=ReturnDocument.AFTER,
        )

    async def beat(self, beat: Beat, lease_seconds: float) -> JobRecord | None:
        """Renew the lease and keep the newest point, unless the fence is not the job's any more."""
        progress = 100.0 * beat.step / beat.total_steps if beat.total_steps else 0.0
        fields: dict[str, Any] = {
            "lease.until": _from_now(lease_seconds),
            "training.phase": beat.phase.value,
            "training.progress": round(min(progress, 100.0), 1),
            "training.current_step": beat.step,
            "training.total_steps": beat.total_steps,
            "training.current_epoch": beat.epoch,
            "training.total_epochs": {"$max": ["$training.total_epochs", beat.total_epochs]},
        }
        if beat.point is not None:
            fields["point"] = documents.literal(beat.point.model_dump())
        document = await self._jobs.find_one_and_update(
            {"_id": beat.job_uid, "fence": beat.fence, "status": Status.RUNNING.value},
            [{"$set": fields}],
            return_document=ReturnDocument.AFTER,
        )
        return documents.to_record(document) if document else None

    async def reported(self, uid: str, fence: int) -> bool:
        """Whether this run's report is stored already: its reply may have been lost."""
        return await self._jobs.find_one({"_id": uid, "reported_fence": fence}, {"_id": 1}) is not None

    async def expired(self) -> list[tuple[JobRecord, datetime]]:
        """Running jobs whose lease ran out, each with the lease's end."""
        cursor = self._jobs.find(
            {"status": Status.RUNNING.value, "$expr": {"$lt": ["$lease.until", "$$NOW"]}}
        ).limit(100)
        return [(documents.to_record(found), found["lease"]["until"]) async for found in cursor]

    async def unpublished(self, limit: int = 100) -> list[list[PendingEvent]]:
        """Outboxes with something in them: the events of each job in order."""
        cursor = (
            self._jobs.find({"outbox.rev": {"$exists": True}}).sort("last_modified", ASCENDING).limit(limit)
        )
        return [[documents.to_event(found, entry) for entry in found["outbox"]] async for found in cursor]

    async def published(self, uid: str, rev: int) -> None:
        """Take a published event out of the outbox."""
        await self._jobs.update_one({"_id": uid}, {"$pull": {"outbox": {"rev": rev}}})

    async def deleted(self) -> list[JobRecord]:
        """Tombstones: jobs whose deletion is not finished."""
        cursor = self._jobs.find({"deleted_at": {"$type": "date"}}).limit(100)
        return [documents.to_record(found) async for found in cursor]

    async def purge(self, uid: str) -> bool:
        """Remove a tombstone whose events are all published; return whether it is gone."""
        result = await self._jobs.delete_one({"_id": uid, "deleted_at": {"$type": "date"}, "outbox": []})
        return result.deleted_count == 1


def _sources(change: Change) -> list[str]:
    return [status.value for status in RULES[change].sources]


def _from_now(seconds: float) -> Document:
    return {"$add": ["$$NOW", int(seconds * 1000)]}
