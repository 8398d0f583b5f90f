"""Ports of this machine: the documented ones where they are free."""

import contextlib
import ipaddress
import random
import socket
from dataclasses import dataclass, fields

from tunedeck_cli.errors import CommandFailed

LOOPBACK = "127.0.0.1"
_FREE = range(20_000, 32_768)
"""Where free ports are looked for: below those that the system gives to outgoing connections. One of these
could take a server's port in the moment of its restart, and keep it for as long as it lives."""
_TRIES = 50
_OUTWARD = ("api", "monitor")
"""Those that listen where TUNEDECK_HOST says; NATS and MongoDB stay on loopback."""


@dataclass(frozen=True)
class Ports:
    """The ports of one stack; 0 asks for any free one."""

    nats: int = 4222
    mongo: int = 27017
    api: int = 8000
    monitor: int = 8001
    nats_health: int = 0


ANY = Ports(0, 0, 0, 0)


def choose(wanted: Ports, host: str = LOOPBACK) -> Ports:
    """`wanted`, with a free port in place of each that is taken; `host` is where the two of HTTP listen.

    Raises:
        CommandFailed: this machine has no such address.
    """
    with contextlib.ExitStack() as held:
        chosen = {}
        for field in fields(wanted):
            place = host if field.name in _OUTWARD else LOOPBACK
            taken = held.enter_context(_bind(getattr(wanted, field.name), place))
            chosen[field.name] = taken.getsockname()[1]
    return Ports(**chosen)


def differences(wanted: Ports, chosen: Ports) -> list[str]:
    """A sentence for each port that was taken."""
    return [
        f"Port {getattr(wanted, field.name)} is taken: {field.name} is on {getattr(chosen, field.name)}."
        for field in fields(wanted)
        if getattr(wanted, field.name) not in (0, getattr(chosen, field.name))
    ]


def free_port() -> int:
    """A loopback TCP port that nobody has now."""
    with _bind(0) as held:
        return int(held.getsockname()[1])


def reached_at(host: str) -> str:
    """How a URL names the address that a server on this machine listens on; loopback where that is any."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return LOOPBACK if address.version == 4 else "[::1]"
    return f"[{address}]" if address.version == 6 else str(address)


def accepts(port: int) -> bool:
    """Whether something listens on the port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def _bind(port: int, host: str = LOOPBACK) -> socket.socket:
    held = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    if port:
        # As the servers do it: a port that only waits in TIME_WAIT is free.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            held.bind((host, port))
            return held
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    for free in random.sample(_FREE, _TRIES):
        with contextlib.suppress(OSError):
            held.bind((host, free))
            return held
    held.close()
    raise CommandFailed(
        f"Nothing can listen on {host!r} here: set TUNEDECK_HOST to an address of this machine."
    )
