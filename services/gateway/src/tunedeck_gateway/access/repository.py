"""The gateway's collections: keys, tickets, counters. The only place that knows their documents."""

import contextlib
from datetime import timedelta

from pymongo import ASCENDING, DESCENDING, ReturnDocument
from pymongo.errors import PyMongoError

from tunedeck_chassis.mongo import Client, Document
from tunedeck_contracts.message import utc_now
from tunedeck_gateway.access.keys import ApiKey, Scope

_USE_NOTED_EVERY = timedelta(minutes=1)


class KeyRepository:
    """API keys, by id."""

    def __init__(self, client: Client, database: str) -> None:
        self._keys = client[database]["keys"]

    async def insert(self, key: ApiKey) -> None:
        """Keep a new key."""
        fields = {name: value for name, value in vars(key).items() if name != "id"}
        await self._keys.insert_one({"_id": key.id, **fields, "scope": key.scope.value})

    async def used(self, key_id: str) -> ApiKey | None:
        """The key, or None; notes its use, at most once a minute."""
        found = await self._keys.find_one({"_id": key_id})
        if found is None:
            return None
        last = found["last_used_at"]
        if last is None or utc_now() - last > _USE_NOTED_EVERY:
            # The key was read; that its use cannot be noted (a full disk) is no reason to refuse it.
            with contextlib.suppress(PyMongoError):
                await self._keys.update_one({"_id": key_id}, {"$set": {"last_used_at": utc_now()}})
        return _to_key(found)

    async def all(self) -> list[ApiKey]:
        """Every key, the newest first."""
        return [_to_key(found) async for found in self._keys.find().sort("created_at", DESCENDING)]

    async def revoke(self, key_id: str) -> ApiKey | None:
        """The key, revoked (at the first time, if it was before); None if there is none."""
        found = await self._keys.find_one_and_update(
            {"_id": key_id},
            [{"$set": {"revoked_at": {"$ifNull": ["$revoked_at", "$$NOW"]}}}],
            return_document=ReturnDocument.AFTER,
        )
        return _to_key(found) if found else None


class TicketRepository:
    """Tickets for the live stream, by the hash of what the client has."""

    def __init__(self, client: Client, database: str) -> None:
        self._tickets = client[database]["tickets"]

    async def prepare(self) -> None:
        """MongoDB removes what nobody took."""
        await self._tickets.create_index([("expires_at", ASCENDING)], expireAfterSeconds=0)

    async def insert(self, ticket_sha256: str, key_id: str, job_id: str, lifetime: timedelta) -> None:
        """Keep a ticket."""
        document = {"key_id": key_id, "job_id": job_id, "expires_at": utc_now() + lifetime}
        await self._tickets.insert_one({"_id": ticket_sha256, **document})

    async def take(self, ticket_sha256: str, job_id: str) -> str | None:
        """Use the ticket up; the id of the key that it was given to, or None when it is not good."""
        found = await self._tickets.find_one_and_delete(
            {"_id": ticket_sha256, "job_id": job_id, "expires_at": {"$gt": utc_now()}}
        )
        return found["key_id"] if found else None


def _to_key(found: Document) -> ApiKey:
    fields = {name: value for name, value in found.items() if name not in ("_id", "scope")}
    return ApiKey(id=found["_id"], scope=Scope(found["scope"]), **fields)
