"""Asks of each request: by which name, from which page, with which key, how often.

Pure ASGI, so that it holds for the live stream too and buffers nothing. What it learns is in the scope's
state: `key_id`, empty where no key is asked for.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs

import structlog
from pymongo.errors import PyMongoError
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunedeck_chassis.failures import as_tunedeck_error
from tunedeck_chassis.presence import Presence
from tunedeck_contracts.errors import Forbidden, InternalError, NotFound, TunedeckError, Unauthorized
from tunedeck_gateway.access.keys import ApiKey, Keys, require
from tunedeck_gateway.access.limits import Kind, Limits, OverLimit, Standing
from tunedeck_gateway.access.origins import Origins
from tunedeck_gateway.access.rules import STREAM, counted_as, is_public, needed_scope
from tunedeck_gateway.access.tickets import Tickets
from tunedeck_gateway.bridge import error_response

log = structlog.get_logger()

UNAUTHORIZED_STREAM = 4401
FORBIDDEN_STREAM = 4403
LIMITED_STREAM = 4429
KEY_ENDED = 1008
TRY_AGAIN_LATER = 1013
_CHANGES_NOTHING = {"GET", "HEAD", "OPTIONS"}


@dataclass(frozen=True)
class Access:
    """What guards a gateway; `keys` is None where none are asked for, `limits` where nothing is counted."""

    origins: Origins
    keys: Keys | None
    limits: Limits | None
    tickets: Tickets
    database: Presence
    stream_check_seconds: float
    most_streams: int


class AccessMiddleware:
    """Lets a request through to the application, or answers it with the reason why not."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Guard one request or one stream."""
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._stream(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        counted: Mapping[str, str] = {}
        try:
            _check_path(scope["path"])
            self._check_place(headers, changes=scope["method"] not in _CHANGES_NOTHING)
            scope.setdefault("state", {})["key_id"] = ""
            if not is_public(scope["path"]):
                with self._access.database.patience(repeatable=scope["method"] in _CHANGES_NOTHING):
                    await self._check_key(scope, headers)
                    standing = await self._count(scope, headers)
                counted = standing.headers if standing else {}
        except (TunedeckError, PyMongoError) as failure:
            error = as_tunedeck_error(failure)
            if isinstance(error, InternalError):
                log.error("access_not_checked", exc_info=failure)
            refused = error_response(error.reply())
            if isinstance(error, Unauthorized):
                refused.headers["WWW-Authenticate"] = "Bearer"
            if isinstance(error, OverLimit):
                refused.headers.update(error.standing.headers)
                refused.headers["Retry-After"] = str(error.standing.reset)
            await refused(scope, receive, send)
            return

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(counted)
            await send(message)

        await self._app(scope, receive, send_counted if counted else send)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        try:
            _check_path(scope["path"])
            self._check_place(headers, changes=True)
        except (NotFound, Forbidden):
            # Before it is accepted: a page of another site learns nothing at all.
            await send({"type": "websocket.close", "code": FORBIDDEN_STREAM})
            return
        try:
            with self._access.database.patience(repeatable=True):
                key_id = await self._stream_key(scope, headers)
                scope.setdefault("state", {})["key_id"] = key_id
                await self._count(scope, headers)
        except (TunedeckError, PyMongoError) as failure:
            error = as_tunedeck_error(failure)
            code = {401: UNAUTHORIZED_STREAM, 403: FORBIDDEN_STREAM, 429: LIMITED_STREAM}
            await _close(receive, send, code.get(error.status_code, TRY_AGAIN_LATER), error.detail)
            return
        caller = key_id or _address(scope)
        if self._access.limits is not None and self._open[caller] >= self._access.most_streams:
            sentence = f"More than {self._access.most_streams} open streams; close one."
            await _close(receive, send, LIMITED_STREAM, sentence)
            return
        self._open[caller] += 1
        try:
            if self._access.keys is None:
                await self._app(scope, receive, send)
            else:
                await self._while_in_force(self._access.keys, key_id, scope, receive, send)
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]

    def _check_place(self, headers: Headers, *, changes: bool) -> None:
        host = headers.get("host", "")
        self._access.origins.check_host(host)
        if changes and (origin := headers.get("origin")) is not None:
            self._access.origins.check_page(origin, host)

    async def _check_key(self, scope: Scope, headers: Headers) -> None:
        if self._access.keys is None:
            return
        key = await self._authenticated(self._access.keys, scope, headers)
        scope["state"]["key_id"] = key.id
        require(key, needed_scope(scope["method"], scope["path"]))

    async def _authenticated(self, keys: Keys, scope: Scope, headers: Headers) -> ApiKey:
        """The key of a request; whoever sends too many that are none is not looked up for a while."""
        limits, address = self._access.limits, _address(scope)
        authorization = headers.get("authorization")
        if limits is not None and not keys.has_seen(authorization):
            limits.check_refused(address)
        try:
            return await keys.authenticate(authorization)
        except Unauthorized:
            if limits is not None and authorization is not None and not keys.has_seen(authorization):
                await limits.count(Kind.REFUSED, address)
            raise

    async def _stream_key(self, scope: Scope, headers: Headers) -> str:
        if self._access.keys is None:
            return ""
        ticket = parse_qs(scope["query_string"].decode("latin-1")).get("ticket", [None])[0]
        if ticket is None:
            return (await self._authenticated(self._access.keys, scope, headers)).id
        key_id = await self._access.tickets.redeem(ticket, scope["path"].removeprefix(STREAM))
        if not await self._access.keys.still_in_force(key_id):
            raise Unauthorized("The API key that asked for the ticket is no longer in force.")
        return key_id

    async def _count(self, scope: Scope, headers: Headers) -> Standing | None:
        """Where the caller stands after this request. Raises OverLimit where it is one too many."""
        if self._access.limits is None:
            return None
        kind, by_address = counted_as(
            scope.get("method", "GET"), scope["path"], headers.get("content-type", "")
        )
        address = _address(scope)
        caller = address if by_address else scope["state"]["key_id"] or address
        standing = await self._access.limits.count(kind, caller)
        if not standing.allowed:
            raise OverLimit(standing)
        return standing

    async def _while_in_force(
        self, keys: Keys, key_id: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Run the stream; close it when its key ends."""
        closed = False

        async def send_while_open(message: Message) -> None:
            if not closed:
                await send(message)

        async def watch() -> None:
            nonlocal closed
            while True:
                await asyncio.sleep(self._access.stream_check_seconds)
                with contextlib.suppress(TunedeckError):
                    if not await keys.still_in_force(key_id):
                        break
            await send(
                {"type": "websocket.close", "code": KEY_ENDED, "reason": "The key is no longer in force."}
            )
            closed = True

        watching = asyncio.create_task(watch())
        try:
            await self._app(scope, receive, send_while_open)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


def _check_path(path: str) -> None:
    # The rules compare paths whole, and a route's pattern ends before a last line break too.
    if any(ord(letter) < 32 for letter in path):
        raise NotFound("There is nothing at this path: it has a control character.")


def _address(scope: Scope) -> str:
    return str((scope.get("client") or ("unknown", 0))[0])


async def _close(receive: Receive, send: Send, code: int, reason: str) -> None:
    """Accept and close: a browser is shown the code of an open connection only."""
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": code, "reason": reason[:120]})
