"""From a route to a service and back: the reply's bytes go to the client untouched."""

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Depends, Request, Response
from fastapi.responses import StreamingResponse
from pymongo.errors import PyMongoError
from starlette.background import BackgroundTask

from tunedeck_chassis.blobs import BlobStore
from tunedeck_chassis.bus import Bus, RawReply
from tunedeck_chassis.disk_guard import DiskGuard
from tunedeck_contracts.errors import ErrorReply
from tunedeck_contracts.message import Message
from tunedeck_contracts.rpc import Rpc
from tunedeck_gateway.access.keys import Keys
from tunedeck_gateway.access.tickets import Tickets
from tunedeck_gateway.openapi import error_responses
from tunedeck_gateway.settings import GatewaySettings

RETRY_AFTER_SECONDS = "1"
JSON = "application/json"


@dataclass(frozen=True)
class Gateway:
    """What the routes work with."""

    settings: GatewaySettings
    bus: Bus
    blobs: BlobStore
    database_problem: Callable[[], Awaitable[str | None]]
    keys: Keys
    tickets: Tickets
    disk: DiskGuard


async def gateway_of(request: Request) -> Gateway:
    """The gateway that serves this request: a dependency, async because FastAPI runs others in a thread."""
    found: Gateway = request.app.state.gateway
    return found


async def answer(gateway: Gateway, rpc: Rpc[Any, Any], message: Message) -> Response:
    """Ask the service that owns the data, and answer with what it said.

    Raises:
        Unavailable: it did not answer in time.
    """
    return respond(gateway, await gateway.bus.forward(rpc, message.to_json()))


def respond(gateway: Gateway, reply: RawReply) -> Response:
    """A service's reply as the HTTP response, its bytes untouched."""
    if reply.blob_id is not None:
        # It would go by itself, but somebody who asks every second would fill the disk until then.
        done = BackgroundTask(_forgotten, gateway.blobs, reply.blob_id)
        pieces = gateway.blobs.read(reply.blob_id)
        return StreamingResponse(pieces, status_code=reply.status, media_type=JSON, background=done)
    return Response(reply.body, status_code=reply.status, media_type=JSON, headers=retry_header(reply.status))


async def _forgotten(blobs: BlobStore, blob_id: str) -> None:
    with contextlib.suppress(PyMongoError):
        await blobs.delete(blob_id)


def retry_header(status: int) -> dict[str, str]:
    """When to come again, for an answer that says so."""
    return {"Retry-After": RETRY_AFTER_SECONDS} if status in (429, 503) else {}


def error_response(reply: ErrorReply) -> Response:
    """An error in the one form that every error has."""
    return Response(
        reply.to_json(),
        status_code=reply.status_code,
        media_type=JSON,
        headers=retry_header(reply.status_code),
    )


def documented(rpc: Rpc[Any, Any], *errors: int) -> dict[str, Any]:
    """Arguments of a route that document what the service answers, and with which errors.

    The statuses that nearly any request can get (401, 403, 422, 429) come from `openapi.complete`.
    """
    return {
        "response_model": rpc.reply,
        "status_code": rpc.status,
        "responses": error_responses(*errors, 503),
    }


async def _room(request: Request) -> None:
    await (await gateway_of(request)).disk.check()


def taking_in(rpc: Rpc[Any, Any], *errors: int) -> dict[str, Any]:
    """As `documented`, for a route that takes in something new: it is refused before the disk is full."""
    return {**documented(rpc, *errors, 507), "dependencies": [Depends(_room)]}
