"""How often one may ask: counted by `limits`, in MongoDB, so that all gateways count together."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import pymongo
import structlog
from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, Storage
from limits.aio.strategies import FixedWindowRateLimiter
from pymongo import ASCENDING, ReturnDocument, WriteConcern
from pymongo.errors import DuplicateKeyError, PyMongoError

from tunedeck_chassis.mongo import Client, Document
from tunedeck_chassis.presence import Presence
from tunedeck_contracts.errors import ErrorReply, TooManyRequests
from tunedeck_gateway.settings import GatewaySettings

log = structlog.get_logger()

RATE_LIMIT_HEADERS = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
_MOST_REMEMBERED = 10_000
_COUNT_SECONDS = 1.0
_ALONE_SECONDS = 5.0
"""Without MongoDB nobody waits for it again before this is over."""


class Kind(StrEnum):
    """What is counted apart."""

    SEARCH = "search"
    UPLOAD = "upload"
    REQUEST = "request"
    REFUSED = "refused"
    """Keys that are none."""


@dataclass(frozen=True)
class Standing:
    """Where a caller stands after a request: `reset` in seconds from now."""

    item: RateLimitItem
    allowed: bool
    remaining: int
    reset: int

    @property
    def headers(self) -> Mapping[str, str]:
        """https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-06"""
        values = (self.item.amount, self.remaining, self.reset)
        return {name: str(value) for name, value in zip(RATE_LIMIT_HEADERS, values, strict=True)}


class Limits:
    """Windows that begin with their first request. While MongoDB is away, each gateway counts alone."""

    def __init__(self, client: Client, settings: GatewaySettings, database: Presence) -> None:
        self._database = database
        self.counters = Counters(client, settings.gateway_database)
        self._together = FixedWindowRateLimiter(self.counters)
        self._alone = FixedWindowRateLimiter(MemoryStorage())
        self._alone_until = float("-inf")
        self._items = {
            Kind.SEARCH: parse(settings.search_limit),
            Kind.UPLOAD: parse(settings.upload_limit),
            Kind.REQUEST: parse(settings.request_limit),
            Kind.REFUSED: parse(settings.refused_limit),
        }

    async def count(self, kind: Kind, caller: str) -> Standing:
        """Count one request of a caller."""
        # Nobody is to wait for what is known to be away, and then for the answer too.
        if not self._database.is_away and time.monotonic() >= self._alone_until:
            try:
                with pymongo.timeout(_COUNT_SECONDS):
                    return await self._count(self._together, kind, caller)
            except PyMongoError as error:
                log.warning("limits_counted_alone", seconds=_ALONE_SECONDS, error=type(error).__name__)
                self._alone_until = time.monotonic() + _ALONE_SECONDS
        return await self._count(self._alone, kind, caller)

    def check_refused(self, address: str) -> None:
        """Raise OverLimit while an address has sent too many keys that are none; asks nobody."""
        item = self._items[Kind.REFUSED]
        count, until = self.counters.said(item.key_for(Kind.REFUSED.value, address))
        left = until - time.time()
        if count >= item.amount and left > 0:
            raise OverLimit(Standing(item, False, 0, max(1, round(left))))

    async def _count(self, limiter: FixedWindowRateLimiter, kind: Kind, caller: str) -> Standing:
        item = self._items[kind]
        allowed = await limiter.hit(item, kind.value, caller)
        reset_time, remaining = await limiter.get_window_stats(item, kind.value, caller)
        return Standing(item, allowed, max(0, remaining), max(1, round(reset_time - time.time())))


class OverLimit(TooManyRequests):
    """One request too many; `standing` says when to come again."""

    def __init__(self, standing: Standing) -> None:
        item, name = standing.item, standing.item.GRANULARITY.name
        window = name if item.multiples == 1 else f"{item.multiples} {name}s"
        super().__init__(
            f"More than {item.amount} requests in one {window}; come again in {standing.reset} s."
        )
        self.standing = standing

    def reply(self) -> ErrorReply:
        """On the wire it is what every caller knows."""
        return TooManyRequests(self.detail).reply()


class Counters(Storage):
    """`limits`' storage over PyMongo's async client; its own asks for Motor, which is at its end of life.

    A count lost in a crash is no harm, so writes wait for no journal.
    """

    STORAGE_SCHEME = None

    def __init__(self, client: Client, database: str) -> None:
        super().__init__()
        self._counters = client[database].get_collection("limits", write_concern=WriteConcern(w=1, j=False))
        # What the database said last: the window's headers need no further questions.
        self._said: dict[str, tuple[int, float]] = {}

    @property
    def base_exceptions(self) -> type[Exception]:
        return PyMongoError

    async def prepare(self) -> None:
        """MongoDB removes the windows that are over."""
        await self._counters.create_index([("until", ASCENDING)], expireAfterSeconds=0)

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        try:
            count, until = await self._incremented(key, expiry, amount)
        except DuplicateKeyError:
            # Two first requests of a window at once: the other one has made the document.
            count, until = await self._incremented(key, expiry, amount)
        if len(self._said) >= _MOST_REMEMBERED:
            self._said.clear()
        self._said[key] = (count, until)
        return count

    async def _incremented(self, key: str, expiry: int, amount: int) -> tuple[int, float]:
        over = {"$lte": [{"$ifNull": ["$until", datetime.fromtimestamp(0, UTC)]}, "$$NOW"]}
        found: Document = await self._counters.find_one_and_update(  # type: ignore[assignment]  # an upsert
            {"_id": key},
            [
                {
                    "$set": {
                        "count": {"$cond": [over, amount, {"$add": ["$count", amount]}]},
                        "until": {"$cond": [over, {"$add": ["$$NOW", expiry * 1000]}, "$until"]},
                    }
                }
            ],
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        return int(found["count"]), found["until"].timestamp()

    def said(self, key: str) -> tuple[int, float]:
        """Count and end of a window, as the database said last."""
        return self._said.get(key, (0, 0.0))

    async def get(self, key: str) -> int:
        return self.said(key)[0]

    async def get_expiry(self, key: str) -> float:
        return self._said.get(key, (0, time.time()))[1]

    async def check(self) -> bool:
        await self._counters.database.command("ping")
        return True

    async def reset(self) -> int | None:
        self._said.clear()
        return (await self._counters.delete_many({})).deleted_count

    async def clear(self, key: str) -> None:
        self._said.pop(key, None)
        await self._counters.delete_one({"_id": key})
