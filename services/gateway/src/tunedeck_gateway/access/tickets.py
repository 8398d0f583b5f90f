"""Tickets for the live stream: a browser sends no header with it, and a key in an address would be logged."""

import hashlib
import secrets
from datetime import timedelta
from typing import Protocol

from tunedeck_chassis.presence import Presence
from tunedeck_contracts.errors import Unauthorized

LIFETIME = timedelta(seconds=30)


class StoredTickets(Protocol):
    """Where tickets are kept, for every gateway."""

    async def insert(self, ticket_sha256: str, key_id: str, job_id: str, lifetime: timedelta) -> None:
        """Keep a ticket."""

    async def take(self, ticket_sha256: str, job_id: str) -> str | None:
        """Use it up; the id of its key, or None when it is not good."""


class Tickets:
    """Each is good for one connection to one job's stream within 30 seconds."""

    def __init__(self, stored: StoredTickets, database: Presence) -> None:
        self._stored = stored
        self._database = database

    async def give(self, key_id: str, job_id: str) -> str:
        """A new ticket for the bearer of a key."""
        ticket = secrets.token_urlsafe(32)
        with self._database.patience(repeatable=False):
            await self._stored.insert(_sha256(ticket), key_id, job_id, LIFETIME)
        return ticket

    async def redeem(self, ticket: str, job_id: str) -> str:
        """The id of the key that it was given to.

        Raises:
            Unauthorized: it is unknown, used, too old, or for another job.
        """
        key_id = await self._stored.take(_sha256(ticket), job_id)
        if key_id is None:
            raise Unauthorized("The ticket is not good for this stream any more; ask for another.")
        return key_id


def _sha256(ticket: str) -> str:
    return hashlib.sha256(ticket.encode()).hexdigest()
