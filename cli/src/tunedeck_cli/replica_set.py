"""Makes a fresh mongod the primary of a replica set of one."""

import time
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from tunedeck_cli.errors import CommandFailed
from tunedeck_cli.ports import LOOPBACK
from tunedeck_cli.server_commands import REPLICA_SET

_ALREADY_INITIALIZED = 23


def initiate(port: int, *, seconds: float = 60.0) -> None:
    """Initiate the set, or move it to this port, and wait until it can be written to.

    Raises CommandFailed when that takes longer than `seconds`.
    """
    deadline = time.monotonic() + seconds
    member = f"{LOOPBACK}:{port}"
    client: MongoClient[dict[str, Any]] = MongoClient(
        LOOPBACK, port, directConnection=True, serverSelectionTimeoutMS=1000
    )
    last: object = "no answer"
    with client:
        while time.monotonic() < deadline:
            try:
                _configure(client, member)
                if client.admin.command("hello")["isWritablePrimary"]:
                    return
                last = "not primary yet"
            except PyMongoError as error:
                last = error
            time.sleep(0.1)
    raise CommandFailed(f"mongod on port {port} did not become writable within {seconds:.0f} s: {last}.")


def _configure(client: MongoClient[dict[str, Any]], member: str) -> None:
    try:
        client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": [{"_id": 0, "host": member}]})
    except OperationFailure as error:
        if error.code != _ALREADY_INITIALIZED:
            raise
        _move(client, member)


def _move(client: MongoClient[dict[str, Any]], member: str) -> None:
    """The data may be from a run on another port: then the node does not find itself in its own set."""
    config = client.admin.command("replSetGetConfig")["config"]
    if config["members"][0]["host"] == member:
        return
    config["members"][0]["host"] = member
    config["version"] += 1
    client.admin.command("replSetReconfig", config, force=True)
