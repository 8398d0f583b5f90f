"""A stand-in for another service: one answer to one kind of request."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import nats

from tunedeck_contracts.cloudevents import STATUS
from tunedeck_contracts.errors import ErrorReply
from tunedeck_contracts.message import Message
from tunedeck_contracts.rpc import Rpc


@asynccontextmanager
async def answering(nats_url: str, rpc: Rpc[Any, Any], reply: Message) -> AsyncIterator[None]:
    """The same answer to every request of one kind, while the context lasts."""
    client = await nats.connect(nats_url)
    status = reply.status_code if isinstance(reply, ErrorReply) else rpc.status

    async def answer(message: nats.aio.msg.Msg) -> None:
        await client.publish(message.reply, reply.to_json(), headers={STATUS: str(status)})

    await client.subscribe(rpc.subject, cb=answer)
    await client.flush()
    try:
        yield
    finally:
        await client.close()
