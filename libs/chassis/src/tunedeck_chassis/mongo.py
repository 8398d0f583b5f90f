"""The MongoDB client. PyMongo's own async client: Motor reached its end of life on 2026-05-14."""

from collections.abc import Mapping
from typing import Any

import pymongo
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from tunedeck_chassis.presence import Presence
from tunedeck_chassis.settings import ServiceSettings

Document = dict[str, Any]
Client = AsyncMongoClient[Document]
Database = AsyncDatabase[Document]
Collection = AsyncCollection[Document]

PROBLEM_SECONDS = 1.5
"""Below the time limit of the health check, which has to say that the database is away."""


def connect(settings: ServiceSettings, *, seconds: float = 5.0, presence: Presence | None = None) -> Client:
    """A client whose writes are on a majority's journal before they are acknowledged.

    A replica set's default of an in-memory acknowledgement loses writes on kill -9;
    five seconds bridge a restart of the server (1.5 to 2.6 s) and no more. `seconds` limits each operation;
    `presence` is told when the server comes and goes.
    """
    return AsyncMongoClient(
        settings.mongo_url,
        w="majority",
        journal=True,
        tz_aware=True,
        retryWrites=True,
        serverSelectionTimeoutMS=5000,
        connectTimeoutMS=5000,
        timeoutMS=int(seconds * 1000),
        maxPoolSize=32,
        event_listeners=[presence] if presence else [],
        **login(settings),
    )


def login(settings: ServiceSettings) -> dict[str, Any]:
    """Options of a client: the user, and TLS. Users are kept in MongoDB's database `admin`."""
    options: dict[str, Any] = {}
    if settings.mongo_user is not None and settings.mongo_password is not None:
        password = settings.mongo_password.get_secret_value()
        options |= {"username": settings.mongo_user, "password": password, "authSource": "admin"}
    if settings.tls_ca_file is not None:
        options |= {"tls": True, "tlsCAFile": str(settings.tls_ca_file)}
    return options


def is_away(error: Exception) -> bool:
    """Whether the error says that the database cannot be reached now, and nothing about what was asked."""
    return isinstance(error, ConnectionFailure) or (isinstance(error, PyMongoError) and error.timeout)


def refusal(error: OperationFailure) -> str:
    """Why MongoDB refuses, in its own sentence."""
    return str((error.details or {}).get("errmsg", error))


async def problem(client: Client) -> str | None:
    """What is wrong with the database, or None."""
    try:
        with pymongo.timeout(PROBLEM_SECONDS):
            hello: Mapping[str, Any] = await client.admin.command("hello")
    except OperationFailure as error:
        return f"MongoDB refuses this service: {refusal(error)}"
    except PyMongoError as error:
        return f"MongoDB does not answer: {type(error).__name__}"
    if "setName" not in hello:
        return "MongoDB is not a replica set; start it with --replSet and initiate it."
    if not hello.get("isWritablePrimary"):
        return "MongoDB has no primary yet."
    return None
