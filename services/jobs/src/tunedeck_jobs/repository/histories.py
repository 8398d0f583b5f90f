"""The events that jobs keep, and which stream has been told them."""

from collections.abc import AsyncIterator
from datetime import datetime

from pymongo import ASCENDING

from tunedeck_chassis.mongo import Client
from tunedeck_contracts.events import JobEvent
from tunedeck_jobs.repository import documents

_KEY = {"_id": "events_told_to"}


class Histories:
    """Reads all jobs, tombstones too: their deletion is news to a new stream."""

    def __init__(self, client: Client, database: str) -> None:
        self._jobs = client[database]["jobs"]
        self._settings = client[database]["settings"]

    async def published(self) -> AsyncIterator[JobEvent]:
        """Every event, oldest job first, each job's in order, but for what the outbox will tell anyway."""
        fields = {**documents.EVENT_FIELDS, "events": True, "outbox.rev": True}
        async for found in self._jobs.find({}, fields).sort("created_at", ASCENDING):
            pending = {entry["rev"] for entry in found["outbox"]}
            for entry in found["events"]:
                if entry["rev"] not in pending:
                    yield documents.to_event(found, entry)

    async def told_to(self) -> datetime | None:
        """When the stream was made that has all events; None when no stream has them yet."""
        found = await self._settings.find_one(_KEY)
        return found["made_at"] if found else None

    async def set_told_to(self, made_at: datetime) -> None:
        """The stream made then has them."""
        await self._settings.update_one(_KEY, {"$set": {"made_at": made_at}}, upsert=True)
