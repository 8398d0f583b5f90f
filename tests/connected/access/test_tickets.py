"""Tickets for the live stream: one connection, one job, thirty seconds."""

from datetime import timedelta

import pytest
import websockets

from tests.connected.access.conftest import RunningGateway, bearer, until
from tunedeck_gateway.access import tickets
from tunedeck_gateway.access.keys import Scope

JOB = "job_1751559451590_15c0ef2a"


async def ticket_for(gateway: RunningGateway, job_id: str = JOB) -> str:
    _, token = await gateway.keys.create("reads", Scope.READ, None)
    answer = await gateway.main.post("/api/ws-ticket", json={"job_id": job_id}, headers=bearer(token))
    assert answer.status_code == 200, answer.text
    assert answer.json()["expires_in"] == 30
    ticket: str = answer.json()["ticket"]
    return ticket


async def is_let_in(gateway: RunningGateway, ticket: str, job_id: str = JOB) -> bool:
    """Refused is 4401; let in, the stream ends by itself: no other service runs here."""
    async with websockets.connect(f"{gateway.stream_url}/{job_id}?ticket={ticket}") as socket:
        await socket.wait_closed()
    return socket.close_code != 4401


async def test_it_opens_one_stream_once(gateway: RunningGateway) -> None:
    ticket = await ticket_for(gateway)
    assert await is_let_in(gateway, ticket)
    assert not await is_let_in(gateway, ticket)


async def test_it_opens_no_other_jobs_stream(gateway: RunningGateway) -> None:
    ticket = await ticket_for(gateway)
    assert not await is_let_in(gateway, ticket, "job_2")
    assert await is_let_in(gateway, ticket), "an attempt at another job uses nothing up"


async def test_it_is_good_for_its_time_only(gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets, "LIFETIME", timedelta(0))
    assert not await is_let_in(gateway, await ticket_for(gateway))


async def test_nobody_guesses_one(gateway: RunningGateway) -> None:
    assert not await is_let_in(gateway, "A" * 43)


async def test_an_id_that_no_job_can_have_gets_none(gateway: RunningGateway) -> None:
    _, token = await gateway.keys.create("reads", Scope.READ, None)
    answer = await gateway.main.post("/api/ws-ticket", json={"job_id": "a.>"}, headers=bearer(token))
    assert answer.status_code == 404


async def test_it_is_worth_no_more_than_its_key(gateway: RunningGateway) -> None:
    key, token = await gateway.keys.create("leaves", Scope.READ, None)
    answer = await gateway.main.post("/api/ws-ticket", json={"job_id": JOB}, headers=bearer(token))
    await gateway.keys.revoke(key.id)

    async def is_refused() -> bool:
        return (await gateway.main.get("/api/keys", headers=bearer(token))).status_code == 401

    await until(is_refused)
    assert not await is_let_in(gateway, answer.json()["ticket"])
