"""The pushes of completed jobs to the Hub: a part of the job's document that is no change of its state."""

from typing import Any

from pymongo import ASCENDING, ReturnDocument

from tunedeck_chassis.mongo import Client, Document
from tunedeck_contracts.jobs import Status
from tunedeck_contracts.model_saving import HubPush, PushState
from tunedeck_jobs.record import JobRecord
from tunedeck_jobs.repository import documents
from tunedeck_jobs.repository.changes import WAITING_PUSH
from tunedeck_jobs.repository.conditions import LIVING

_COMPLETED: Document = {"status": Status.COMPLETED.value, **LIVING}


class PushRepository:
    """Each write compares the claim that it was made under: of two trainers the last to claim is heard."""

    def __init__(self, client: Client, database: str) -> None:
        self._jobs = client[database]["jobs"]

    async def prepare(self) -> None:
        """Create the index of what waits."""
        await self._jobs.create_index([("hub_push.state", ASCENDING)], sparse=True)

    async def want(self, uid: str, repository: str, public: bool) -> JobRecord | None:
        """Have a completed job's files pushed; None while they are being pushed, or where it has none."""
        fields = {**WAITING_PUSH, "repository": documents.literal(repository), "public": public}
        return _record(
            await self._jobs.find_one_and_update(
                {
                    "_id": uid,
                    **_COMPLETED,
                    "artifacts": {"$ne": []},
                    "hub_push.state": {"$ne": PushState.PUSHING.value},
                },
                # As a document of its own it would be merged into what a former push has left.
                [{"$set": {"hub_push": {"$mergeObjects": [fields]}}}],
                projection=documents.READ,
                return_document=ReturnDocument.AFTER,
            )
        )

    async def claim(self, worker: str, seconds: float) -> tuple[JobRecord, int] | None:
        """The push that waits longest, or that was given up; with its claim.

        A worker does one at a time: when it asks again, it has given up what it had.
        """
        late: Document = {"$expr": {"$lt": ["$hub_push.until", "$$NOW"]}}
        abandoned: Document = {
            "hub_push.state": PushState.PUSHING.value,
            "$or": [{"hub_push.worker": worker}, late],
        }
        claimed = {
            "hub_push.state": PushState.PUSHING.value,
            "hub_push.worker": documents.literal(worker),
            "hub_push.claims": {"$add": ["$hub_push.claims", 1]},
            "hub_push.until": {"$add": ["$$NOW", int(seconds * 1000)]},
            "hub_push.at": "$$NOW",
        }
        found = await self._jobs.find_one_and_update(
            {**_COMPLETED, "$or": [{"hub_push.state": PushState.WAITING.value}, abandoned]},
            [{"$set": claimed}],
            sort=[("hub_push.at", ASCENDING)],
            projection=documents.READ,
            return_document=ReturnDocument.AFTER,
        )
        return (documents.to_record(found), found["hub_push"]["claims"]) if found else None

    async def report(self, uid: str, claim: int, push: HubPush) -> bool:
        """Keep how it ended; False where a newer claim has it."""
        said = push.model_dump(mode="json", by_alias=False, exclude={"at"})
        told = {f"hub_push.{name}": value for name, value in said.items()}
        result = await self._jobs.update_one(
            {"_id": uid, "hub_push.claims": claim, **LIVING},
            {"$set": told, "$currentDate": {"hub_push.at": True}},
        )
        return result.matched_count == 1


def _record(document: Any) -> JobRecord | None:
    return documents.to_record(document) if document else None
