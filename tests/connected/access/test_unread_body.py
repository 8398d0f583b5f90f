"""A request that is refused before its body has come ends its connection after the answer."""

import asyncio

import pytest

from tests.connected.access.conftest import RunningGateway
from tunedeck_gateway import unread_body

PIECE = b"x" * 65_536
DECLARED = 2_000_000_000


async def test_the_rest_of_a_refused_body_is_not_read(gateway: RunningGateway) -> None:
    url = gateway.main.base_url
    _, writer = await asyncio.open_connection(url.host, url.port)
    head = f"POST /api/jobs HTTP/1.1\r\nHost: 127.0.0.1:{url.port}\r\nContent-Length: {DECLARED}\r\n\r\n"
    writer.write(head.encode())
    sent = 0
    try:
        async with asyncio.timeout(20):
            while sent < DECLARED:
                writer.write(PIECE)
                await writer.drain()
                sent += len(PIECE)
    except ConnectionError:
        pass
    assert sent < 100_000_000, "the gateway reads on"


async def test_who_stops_to_read_gets_the_answer(gateway: RunningGateway) -> None:
    url = gateway.main.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = f"POST /api/jobs HTTP/1.1\r\nHost: 127.0.0.1:{url.port}\r\nContent-Length: {DECLARED}\r\n\r\n"
    writer.write(head.encode() + PIECE)
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 401") and b"connection: close" in answer.lower()
    assert b"Unauthorized" in answer


async def test_a_small_rest_keeps_the_connection(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unread_body, "_LONGEST_WAIT", 20)
    answer = await gateway.main.post("/api/jobs", content=b"x" * 10_000)
    assert answer.status_code == 401 and answer.headers.get("Connection") != "close"
