"""Reads and writes of small documents: PyMongo's own async client, beside Motor.

Motor is not part of the set-up, having reached its end of life; this benchmark runs by its name alone.
"""

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop
from pymongo import AsyncMongoClient

from bench.blobs import running
from bench.results import Measurement, alternated
from tests.support.servers import MongoServer

PEER = "Motor"
PACKAGES = ("pymongo", "motor", "uvloop")
TASKS = 32
SECONDS = 3.0
OPTIONS = {"w": "majority", "journal": True, "timeoutMS": 5000, "maxPoolSize": TASKS}
DOCUMENT = {
    "name": "Customer support",
    "tags": ["support", "v2"],
    "status": "running",
    "hyperparameters": {"learning_rate": 0.0002, "epochs": 3, "batch_size": 4},
    "rev": 0,
}


@dataclass(frozen=True)
class Rates:
    """Operations a second: reads by one task, reads by 32 at once, durable writes by 32 at once."""

    lone_reads: float
    reads: float
    writes: float


def measure() -> list[Measurement]:
    """Both on the same PyMongo, the same mongod and the same options, each round with a client of its own."""
    try:
        from motor.motor_asyncio import AsyncIOMotorClient
    except ImportError:
        sys.exit("Motor is not installed: .venv/bin/pip install --no-deps motor==3.7.1")
    with tempfile.TemporaryDirectory(prefix="tunedeck-bench-") as folder:
        mongod = MongoServer(Path(folder))
        with running(mongod):
            ours, peer = alternated(
                lambda: uvloop.run(_rates(AsyncMongoClient, mongod.url)),
                lambda: uvloop.run(_rates(AsyncIOMotorClient, mongod.url)),
            )
    return [
        Measurement(
            name=f"mongo_client.{name}",
            unit="op/s",
            ours=[getattr(one, name) for one in ours],
            peer=[getattr(one, name) for one in peer],
            peer_name=PEER,
            higher_is_better=True,
            packages=PACKAGES,
        )
        for name in ("lone_reads", "reads", "writes")
    ]


async def _rates(client_class: Callable[..., Any], url: str) -> Rates:
    client = client_class(url, **OPTIONS)
    documents = client["bench"]["documents"]
    await documents.delete_many({})
    await documents.insert_many([{"_id": number, **DOCUMENT} for number in range(TASKS)])

    async def read(number: int) -> None:
        await documents.find_one({"_id": number})

    async def write(number: int) -> None:
        await documents.update_one({"_id": number}, {"$inc": {"rev": 1}})

    await _rate(read, TASKS, seconds=1.0)
    rates = Rates(await _rate(read, 1), await _rate(read, TASKS), await _rate(write, TASKS))
    # PyMongo's close is awaited, Motor's is not.
    closing = client.close()
    if closing is not None:
        await closing
    return rates


async def _rate(work: Callable[[int], Awaitable[None]], tasks: int, seconds: float = SECONDS) -> float:
    """How often a second `tasks` tasks together do it, each one call after the other."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    counts = [0] * tasks

    async def again_and_again(number: int) -> None:
        while loop.time() < started + seconds:
            await work(number)
            counts[number] += 1

    await asyncio.gather(*map(again_and_again, range(tasks)))
    return sum(counts) / (loop.time() - started)
