"""The trainers that were heard of, and what the queue looks like to them."""

from datetime import datetime
from statistics import median

from pymongo import ASCENDING, DESCENDING

from tunedeck_chassis.mongo import Client, Document
from tunedeck_contracts.jobs import Device, Status
from tunedeck_contracts.message import utc_now
from tunedeck_jobs.forecast import Line, Trainer, Waiting, kinds
from tunedeck_jobs.repository.conditions import LIVING
from tunedeck_jobs.repository.jobs import QUEUE_ORDER

HEARD_SECONDS = 60
"""An idle trainer claims every 10 s; one that was silent for this long is not counted on."""

_FORGOTTEN_SECONDS = 86_400
_PAST_JOBS = 20


class TrainerRepository:
    """Who has claimed lately; reads the jobs' collection and writes only what it heard."""

    def __init__(self, client: Client, database: str) -> None:
        self._jobs = client[database]["jobs"]
        self._trainers = client[database]["trainers"]

    async def prepare(self) -> None:
        """Create the index that forgets trainers."""
        await self._trainers.create_index([("heard_at", ASCENDING)], expireAfterSeconds=_FORGOTTEN_SECONDS)

    async def heard_of(self, worker: str, devices: list[str]) -> None:
        """A trainer has asked for a job."""
        told: Document = {"$set": {"devices": devices}, "$currentDate": {"heard_at": True}}
        await self._trainers.update_one({"_id": worker}, told, upsert=True)

    async def line(self) -> Line:
        """The queue, its trainers, and how long jobs took lately."""
        shown = {"device": True}
        queued = self._jobs.find({"status": Status.QUEUED.value, **LIVING}, shown).sort(QUEUE_ORDER)
        waiting = [
            Waiting(found["_id"], Device(found["device"]) if found["device"] else None)
            async for found in queued
        ]
        return Line(waiting, await self._present(), await self._typical())

    async def known_kinds(self) -> frozenset[Device]:
        """What the trainers have that run a job or have asked for one within a day.

        A trainer that is busy with the end of a run, restarts or has no room on its disk is still known.
        """
        asked = await self._trainers.distinct("devices")
        working = await self._jobs.distinct("lease.devices", {"status": Status.RUNNING.value})
        return kinds([*asked, *working])

    async def _present(self) -> list[Trainer]:
        busy: dict[str, Trainer] = {}
        shown = {"lease": True, "training": True, "resume_step": True}
        now = utc_now()
        async for job in self._jobs.find({"status": Status.RUNNING.value}, shown):
            lease = job["lease"]
            busy[lease["worker"]] = Trainer(kinds(lease.get("devices", [])), _remaining(job, now))
        recent: Document = {"$expr": {"$gt": ["$heard_at", {"$add": ["$$NOW", -HEARD_SECONDS * 1000]}]}}
        idle = {
            found["_id"]: Trainer(kinds(found["devices"]), 0.0) async for found in self._trainers.find(recent)
        }
        return [*busy.values(), *(trainer for worker, trainer in idle.items() if worker not in busy)]

    async def _typical(self) -> float | None:
        query: Document = {"status": Status.COMPLETED.value, "result.seconds": {"$gt": 0}, **LIVING}
        newest = self._jobs.find(query, {"result.seconds": True}).sort("created_at", DESCENDING)
        took: list[float] = [found["result"]["seconds"] async for found in newest.limit(_PAST_JOBS)]
        return float(median(took)) if took else None


def _remaining(job: Document, now: datetime) -> float | None:
    """By the pace since the claim, over the steps done since then; None before the first."""
    training, since = job["training"], job["lease"].get("since")
    step, total = int(training["current_step"]), int(training["total_steps"])
    done = step - int(job["resume_step"])
    if since is None or done <= 0 or not total:
        return None
    seconds: float = (now - since).total_seconds()
    return max(0.0, (total - step) * seconds / done)
