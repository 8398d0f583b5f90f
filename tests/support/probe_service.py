"""A service with handlers of a test's own, on the real servers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.support.servers import provision
from tunedeck_chassis import mongo
from tunedeck_chassis.blobs import BLOBS_DATABASE, BlobStore
from tunedeck_chassis.broker import create_broker
from tunedeck_chassis.bus import Bus
from tunedeck_chassis.requests import Router
from tunedeck_chassis.service import started
from tunedeck_chassis.settings import ServiceSettings
from tunedeck_contracts.message import Message


class Ask(Message):
    text: str


class Say(Message):
    text: str


@asynccontextmanager
async def serving(
    nats_url: str, router: Router, mongo_url: str | None = None, **context: Any
) -> AsyncIterator[Bus]:
    """A service with these handlers on the real servers."""
    await provision(nats_url)
    settings = ServiceSettings(nats_url=nats_url, mongo_url=mongo_url or "mongodb://127.0.0.1:1")
    client = mongo.connect(settings)
    broker = create_broker(settings, "probe", BlobStore(client[BLOBS_DATABASE]))
    for name, value in context.items():
        broker.context.set_global(name, value)
    broker.include_router(router)
    async with started(broker):
        yield Bus(broker)
    await client.close()
