"""Loopback ports: the documented ones where they are free."""

import socket
from dataclasses import dataclass, fields

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    """The ports of one stack; 0 asks for any free one."""

    nats: int = 4222
    mongo: int = 27017
    api: int = 8000
    monitor: int = 8001
    nats_health: int = 0


ANY = Ports(0, 0, 0, 0)


def choose(wanted: Ports) -> Ports:
    """`wanted`, with a free port in place of each that is taken."""
    with_sockets = {field.name: _bind(getattr(wanted, field.name)) for field in fields(wanted)}
    chosen = {name: held.getsockname()[1] for name, held in with_sockets.items()}
    for held in with_sockets.values():
        held.close()
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


def accepts(port: int) -> bool:
    """Whether something listens on the port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def _bind(port: int) -> socket.socket:
    held = socket.socket()
    # As the servers do it: a port that only waits in TIME_WAIT is free.
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((LOOPBACK, port))
    except OSError:
        held.bind((LOOPBACK, 0))
    return held
