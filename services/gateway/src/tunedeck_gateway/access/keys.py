"""API keys: `ftk_<id>_<secret>`, kept as SHA-256 of the secret.

The secret has 256 random bits, so a slow hash would protect nothing more.
"""

import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import pymongo
from pymongo.errors import PyMongoError

from tunedeck_chassis.presence import Presence
from tunedeck_contracts.errors import Forbidden, NotFound, Unauthorized, Unavailable
from tunedeck_contracts.message import utc_now

_TOKEN = re.compile(r"ftk_(?P<id>[0-9a-f]{12})_(?P<secret>[A-Za-z0-9_-]{43})")
_MOST_CACHED = 10_000
_FIRST_LOOK_SECONDS = 5.0
"""Bridges a restart of MongoDB."""
_NEXT_LOOK_SECONDS = 1.0
_LOOK_AGAIN_SECONDS = 5.0
_LONGEST_UNREAD_SECONDS = 25.0
"""While MongoDB is away, a key is believed for this long after it was read."""


class Scope(StrEnum):
    """What a key allows: each one allows all before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    def allows(self, needed: "Scope") -> bool:
        """Whether a key of this scope may do what needs the other."""
        order = list(Scope)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True)
class ApiKey:
    """A key as it is stored. `secret_sha256` in hex; no time limit where `expires_at` is None."""

    id: str
    secret_sha256: str
    name: str
    scope: Scope
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


@dataclass(frozen=True)
class _Looked:
    """A key as it was read; times by `time.monotonic()`."""

    key: ApiKey
    read_at: float
    believed_until: float


class StoredKeys(Protocol):
    """Where keys are kept."""

    async def insert(self, key: ApiKey) -> None:
        """Keep a new key."""

    async def used(self, key_id: str) -> ApiKey | None:
        """The key, or None; notes its use, at most once a minute."""

    async def all(self) -> list[ApiKey]:
        """Every key, the newest first."""

    async def revoke(self, key_id: str) -> ApiKey | None:
        """The key, revoked (again, if it was); None if there is none."""


def make_key(name: str, scope: Scope, expires_at: datetime | None) -> tuple[ApiKey, str]:
    """A new key, and the token that is shown once."""
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    key = ApiKey(key_id, _sha256(secret), name, scope, utc_now(), expires_at)
    return key, f"ftk_{key_id}_{secret}"


class Keys:
    """Authenticates requests. A looked-up key is believed for `cache_seconds`; a revocation takes as long."""

    def __init__(self, stored: StoredKeys, cache_seconds: float, database: Presence | None = None) -> None:
        self._stored = stored
        self._database = database or Presence()
        self._cache_seconds = cache_seconds
        self._cache: dict[str, _Looked] = {}
        # Apart, so that made-up ids push no key out.
        self._unknown: dict[str, float] = {}

    async def authenticate(self, authorization: str | None) -> ApiKey:
        """The key of an `Authorization` header.

        Raises:
            Unauthorized: there is none that is in force.
            Unavailable: the database cannot be asked.
        """
        if not authorization:
            raise Unauthorized("This needs an API key: send `Authorization: Bearer <key>`.")
        kind, _, token = authorization.partition(" ")
        parts = _TOKEN.fullmatch(token.strip())
        if kind.lower() != "bearer" or parts is None:
            raise Unauthorized("The Authorization header holds no API key: send `Bearer ftk_...`.")
        key = await self._known(parts["id"])
        if key is None or not hmac.compare_digest(key.secret_sha256, _sha256(parts["secret"])):
            raise Unauthorized("The API key is not known.")
        return _in_force(key)

    async def still_in_force(self, key_id: str) -> bool:
        """Whether a key that was authenticated before still is."""
        try:
            key = await self._known(key_id)
            return key is not None and _in_force(key) is key
        except Unauthorized:
            return False

    async def create(self, name: str, scope: Scope, expires_at: datetime | None) -> tuple[ApiKey, str]:
        """Keep a new key; the token is shown this once."""
        key, token = make_key(name, scope, expires_at)
        with self._database.patience(repeatable=False):
            await self._stored.insert(key)
        return key, token

    async def all(self) -> list[ApiKey]:
        """Every key, the newest first."""
        with self._database.patience(repeatable=True):
            return await self._stored.all()

    async def revoke(self, key_id: str) -> ApiKey:
        """End a key.

        Raises:
            NotFound: there is none of this id.
        """
        with self._database.patience(repeatable=True):
            key = await self._stored.revoke(key_id)
        if key is None:
            raise NotFound(f"There is no API key {key_id!r}; `tunedeck keys list` shows them.")
        self._cache.pop(key_id, None)
        return key

    def has_seen(self, authorization: str | None) -> bool:
        """Whether the header's key was looked up and found before."""
        parts = _TOKEN.search(authorization or "")
        return parts is not None and parts["id"] in self._cache

    async def _known(self, key_id: str) -> ApiKey | None:
        now = time.monotonic()
        cached = self._cache.get(key_id)
        if cached is not None and (now < cached.believed_until or self._must_believe(cached)):
            return cached.key
        if now < self._unknown.get(key_id, now):
            return None
        try:
            with pymongo.timeout(_FIRST_LOOK_SECONDS if cached is None else _NEXT_LOOK_SECONDS):
                found = await self._stored.used(key_id)
        except PyMongoError as error:
            if cached is None or _is_unread_too_long(cached):
                raise Unavailable("MongoDB does not answer, so the API key cannot be checked.") from error
            seconds = min(self._cache_seconds, _LOOK_AGAIN_SECONDS)
            self._cache[key_id] = _Looked(cached.key, cached.read_at, time.monotonic() + seconds)
            return cached.key
        return self._remembered(key_id, found)

    def _must_believe(self, cached: _Looked) -> bool:
        """Whether a look is known to be in vain, and not due for too long."""
        return self._database.is_away and not _is_unread_too_long(cached)

    def _remembered(self, key_id: str, found: ApiKey | None) -> ApiKey | None:
        now = time.monotonic()
        for remembered in (self._cache, self._unknown):
            if len(remembered) >= _MOST_CACHED:
                remembered.clear()
        if found is None:
            self._cache.pop(key_id, None)
            self._unknown[key_id] = now + self._cache_seconds
        else:
            self._cache[key_id] = _Looked(found, now, now + self._cache_seconds)
        return found


def _is_unread_too_long(cached: _Looked) -> bool:
    return time.monotonic() - cached.read_at > _LONGEST_UNREAD_SECONDS


def require(key: ApiKey, needed: Scope) -> None:
    """Raise Forbidden unless the key's scope allows it."""
    if not key.scope.allows(needed):
        raise Forbidden(
            f"This needs a key with the scope {needed.value!r}; this key has {key.scope.value!r}."
        )


def _in_force(key: ApiKey) -> ApiKey:
    if key.revoked_at is not None:
        raise Unauthorized("The API key was revoked.")
    if key.expires_at is not None and key.expires_at <= utc_now():
        raise Unauthorized("The API key has expired.")
    return key


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
