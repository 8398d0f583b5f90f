"""Refuses a body that is too large for a route that takes no file, without reading the rest."""

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunedeck_contracts.errors import PayloadTooLarge
from tunedeck_gateway.access.rules import brings_file
from tunedeck_gateway.bridge import error_response


class BodyLimit:
    """Pure ASGI. Forms with a file are counted by their own reader."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit
        self._sentence = f"The body is larger than {limit} bytes, the limit for requests without a file."

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count what arrives."""
        if scope["type"] != "http" or _brings_file(scope):
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._limit:
            await error_response(PayloadTooLarge(self._sentence).reply())(scope, receive, send)
            return
        arrived = 0

        async def receive_counted() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > self._limit:
                # FastAPI hides every other exception that comes up while it reads a body.
                raise HTTPException(413, self._sentence)
            return message

        await self._app(scope, receive_counted, send)


def _brings_file(scope: Scope) -> bool:
    return brings_file(scope["method"], scope["path"], Headers(scope=scope).get("content-type", ""))
