"""How a request is answered: the message's own bytes, or a reference when they are too large for the bus."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

from tunedeck_chassis.blobs import BlobStore
from tunedeck_contracts.cloudevents import BLOB, STATUS
from tunedeck_contracts.errors import ErrorReply, InsufficientStorage
from tunedeck_contracts.message import Message
from tunedeck_contracts.streams import INLINE_REPLY_LIMIT

_REFERENCE_LIFETIME = timedelta(minutes=10)


@dataclass(frozen=True)
class Reply:
    """What goes back over the bus."""

    body: bytes
    headers: dict[str, str]


class Replies:
    """Encodes replies. Without a blob store, a reply above the limit is an error."""

    def __init__(self, blobs: BlobStore | None) -> None:
        self._blobs = blobs

    async def success(self, message: Message, status: int) -> Reply:
        """The reply to a request that succeeded; `status` is its HTTP status."""
        body = message.to_json()
        headers = {STATUS: str(status), "content-type": "application/json"}
        if len(body) <= INLINE_REPLY_LIMIT:
            return Reply(body, headers)
        if self._blobs is None:
            return self.failure(
                InsufficientStorage(
                    f"The answer has {len(body)} bytes, more than fit on the bus; ask for less of it."
                ).reply()
            )
        blob = await self._blobs.put(_once(body), filename="reply.json", keep_for=_REFERENCE_LIFETIME)
        return Reply(b"", {**headers, BLOB: blob.id})

    def failure(self, reply: ErrorReply) -> Reply:
        """The reply to a request that failed."""
        headers = {STATUS: str(reply.status_code), "content-type": "application/json"}
        return Reply(reply.to_json(), headers)


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
