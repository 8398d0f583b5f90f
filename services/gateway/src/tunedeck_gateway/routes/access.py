"""`/api/keys` and `/api/ws-ticket`."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request

from tunedeck_contracts.ids import checked_id
from tunedeck_contracts.message import utc_now
from tunedeck_gateway.access.messages import (
    AskTicket,
    CreatedKey,
    CreateKey,
    KeyList,
    ShownKey,
    Ticket,
    shown,
)
from tunedeck_gateway.access.tickets import LIFETIME
from tunedeck_gateway.bridge import Gateway, gateway_of
from tunedeck_gateway.openapi import error_responses

router = APIRouter(tags=["Access"])
Here = Annotated[Gateway, Depends(gateway_of)]
KeyId = Annotated[str, Path(description="What follows `ftk_` in the key.", examples=["3f9a1c0b7d24"])]


def _documented(*errors: int) -> dict[str, Any]:
    return {"responses": error_responses(*errors, 503)}


@router.get("/api/keys", **_documented())
async def list_keys(gateway: Here) -> KeyList:
    """Every API key, without its secret."""
    return KeyList(keys=[shown(key) for key in await gateway.keys.all()])


@router.post("/api/keys", status_code=201, **_documented())
async def create_key(gateway: Here, wanted: CreateKey) -> CreatedKey:
    """Make an API key. It is shown this once and kept as a hash."""
    days = wanted.expires_in_days
    expires_at = utc_now() + timedelta(days=days) if days is not None else None
    key, token = await gateway.keys.create(wanted.name, wanted.scope, expires_at)
    return CreatedKey(**dict(shown(key)), key=token)


@router.delete("/api/keys/{key_id}", **_documented(404))
async def revoke_key(gateway: Here, key_id: KeyId) -> ShownKey:
    """End an API key; every gateway refuses it within 30 seconds."""
    return shown(await gateway.keys.revoke(checked_id("API key", key_id)))


@router.post("/api/ws-ticket", **_documented(404))
async def give_ticket(gateway: Here, request: Request, wanted: AskTicket) -> Ticket:
    """A ticket for one connection to a job's live stream: a browser can send no key with it."""
    job_id = checked_id("job", wanted.job_id)
    ticket = await gateway.tickets.give(request.state.key_id, job_id)
    return Ticket(ticket=ticket, expires_in=int(LIFETIME.total_seconds()))
