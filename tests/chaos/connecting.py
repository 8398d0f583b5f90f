"""The stack's bus, as one of its services has it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from faststream.nats import NatsBroker

from tunedeck_chassis.broker import create_broker
from tunedeck_cli.stack import Stack


@asynccontextmanager
async def connected(stack: Stack, service: str) -> AsyncIterator[NatsBroker]:
    """The service's connection."""
    broker = create_broker(stack.settings(service), service)
    await broker.connect()
    broker.context.get("closed_guard").stopping = True
    try:
        yield broker
    finally:
        await broker.stop()
