"""Ends the connection of a request that was answered before its body had arrived.

uvicorn would keep the connection open and read the rest of the body, however long, for nothing.
"""

import asyncio
import contextlib

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SMALL_REST = 64 * 1024
"""Bytes of a rest that is read, so that the connection can be used again."""
_LONGEST_REST = 4 * 1024 * 1024
"""Bytes that are read after the answer: a client that only sends would lose it when the connection ends."""
_LONGEST_WAIT = 1.0


class UnreadBody:
    """Pure ASGI; a request without a body passes as it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Watch how much of the body was read when the answer begins."""
        if scope["type"] != "http" or not _has_body(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        body = _Body(receive)
        ends = False

        async def send_watched(message: Message) -> None:
            nonlocal ends
            if message["type"] == "http.response.start":
                ends = not await body.read_rest(_SMALL_REST)
                if ends:
                    MutableHeaders(scope=message)["Connection"] = "close"
            elif ends and not message.get("more_body", False):
                await send({**message, "more_body": True})
                await body.read_rest(_LONGEST_REST)
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        await self._app(scope, body.receive, send_watched)


class _Body:
    """The body of one request on its way."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._has_ended = False

    async def receive(self) -> Message:
        """The next message, for the application."""
        message = await self._receive()
        self._has_ended = not message.get("more_body", False)
        return message

    async def read_rest(self, most: int) -> bool:
        """Read on, up to so many bytes and for a second; whether the body has ended."""
        read = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_WAIT):
                while not self._has_ended and read <= most:
                    read += len((await self.receive()).get("body", b""))
        return self._has_ended


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
