"""From which names the gateway answers, and which pages may change something through a browser.

A page of any site can send requests to a service on the visitor's machine, and by DNS rebinding even under
the site's own name. The `Host` header says by which name the gateway was asked, `Origin` which page asks.
"""

from collections.abc import Collection
from urllib.parse import urlsplit

from tunedeck_contracts.errors import Forbidden

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def is_loopback(host: str) -> bool:
    """Whether an address that a server listens on is reached from this machine alone."""
    return host in LOOPBACK_NAMES


def answered_names(host: str, allowed: Collection[str]) -> Collection[str] | None:
    """The names that a gateway which listens on `host` answers under; None for any."""
    if not is_loopback(host) and (not allowed or "*" in allowed):
        return None
    return LOOPBACK_NAMES | set(allowed)


class Origins:
    """The rules of one gateway.

    `hosts` are the names it answers under, without port; None for any. `pages` are origins of other sites
    whose pages may use it. Pages of its own `ports` under the same name may too.
    """

    def __init__(self, hosts: Collection[str] | None, pages: Collection[str], ports: Collection[int]) -> None:
        self._hosts = None if hosts is None else frozenset(hosts)
        self._pages = frozenset(pages)
        self._ports = frozenset(ports)

    def check_host(self, host: str) -> None:
        """Raise Forbidden unless the gateway answers under this `Host` header."""
        name = host_name(host)
        if self._hosts is not None and name not in self._hosts:
            raise Forbidden(
                f"The gateway does not answer as {(name or host)[:100]!r}: "
                "add the name to TUNEDECK_ALLOWED_HOSTS."
            )

    def check_page(self, origin: str, host: str) -> None:
        """Raise Forbidden unless the page of this `Origin` header may change something, or listen in."""
        if origin not in self._pages and not self._is_own(origin, host):
            raise Forbidden(
                f"Pages of {origin[:100]!r} may not do this: add the origin to TUNEDECK_CORS_ORIGINS."
            )

    def _is_own(self, origin: str, host: str) -> bool:
        scheme, slashes, place = origin.partition("://")
        if scheme not in ("http", "https") or not slashes:
            return False
        if place == host:
            return True
        (page_name, page_port), (name, port) = _split(place), _split(host)
        return page_name == name != "" and {page_port, port} <= self._ports


def host_name(host: str) -> str:
    """The name in a `Host` header, without port and case; empty for what is none."""
    return _split(host.lower())[0]


def _split(place: str) -> tuple[str, int | None]:
    """Name and port of `name:port`; an empty name for what is none."""
    try:
        parts = urlsplit(f"//{place}")
        if parts.netloc != place or parts.username is not None or place != place.lower():
            return "", None
        return parts.hostname or "", parts.port
    except ValueError:
        return "", None
