"""How every process connects to NATS, through FastStream or not."""

import os
from typing import Any

import structlog

from tunedeck_chassis.link import Link

log = structlog.get_logger()

CONNECTION_CLOSED_EXIT = 70
"""EX_SOFTWARE: the supervisor starts the process again."""


async def _on_error(error: Exception) -> None:
    log.warning("nats_error", error=repr(error))


def connection_options(service: str, link: Link) -> dict[str, Any]:
    """Options of nats-py: reconnect for ever, notice a dead link within 15 s.

    One inbox prefix for each service, so that a server's permissions can keep
    a service from reading another's replies.
    """
    return {
        "name": service,
        "inbox_prefix": f"_INBOX_{service}",
        "allow_reconnect": True,
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": 0.25,
        "connect_timeout": 2,
        "ping_interval": 5,
        "max_outstanding_pings": 2,
        "error_cb": _on_error,
        "disconnected_cb": link.on_lost,
        "reconnected_cb": link.on_back,
    }


class ClosedGuard:
    """Ends the process when its connection closes for good, unless the process is closing it itself.

    FastStream's pull subscriber spins without yielding on a closed connection,
    which stops the whole event loop, so nothing gentler would run.
    """

    def __init__(self) -> None:
        self.stopping = False

    async def on_closed(self) -> None:
        """nats-py's `closed_cb`."""
        if not self.stopping:
            os._exit(CONNECTION_CLOSED_EXIT)
