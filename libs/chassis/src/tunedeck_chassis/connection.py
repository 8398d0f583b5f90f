"""How every process connects to NATS, through FastStream or not."""

import os
import ssl
from typing import Any

import nats
import structlog
from faststream.nats import NatsNKey, NatsSecurity
from nats.aio.client import Client

from tunedeck_chassis.link import Link
from tunedeck_chassis.settings import ServiceSettings
from tunedeck_contracts.subjects import inbox

log = structlog.get_logger()

CONNECTION_CLOSED_EXIT = 70
"""EX_SOFTWARE: the supervisor starts the process again."""


async def _on_error(error: Exception) -> None:
    log.warning("nats_error", error=repr(error))


def connection_options(service: str, link: Link) -> dict[str, Any]:
    """Options of nats-py and of FastStream's broker: reconnect for ever, notice a dead link within 15 s."""
    return {
        "name": service,
        "inbox_prefix": inbox(service),
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


async def connect(settings: ServiceSettings, user: str) -> Client:
    """A plain client that gives up with its connection, for what is done once.

    Raises:
        Exception: as nats-py tells that the server cannot be reached, or refuses the user.
    """
    seed = settings.nats_nkey_seed
    return await nats.connect(
        settings.nats_url,
        name=user,
        inbox_prefix=inbox(user),
        allow_reconnect=False,
        # Or nats-py tries for two minutes.
        max_reconnect_attempts=1,
        reconnect_time_wait=0.25,
        connect_timeout=2,
        error_cb=_on_error,
        nkeys_seed_str=None if seed is None else seed.get_secret_value(),
        tls=tls_context(settings),
        tls_handshake_first=settings.tls_ca_file is not None,
    )


def tls_context(settings: ServiceSettings) -> ssl.SSLContext | None:
    """What checks the server's certificate; None where TLS is not set."""
    return None if settings.tls_ca_file is None else ssl.create_default_context(cafile=settings.tls_ca_file)


def security(settings: ServiceSettings) -> NatsSecurity:
    """The user and TLS as FastStream takes them.

    The TLS handshake goes first: nats-py would otherwise take a server's word that it has no TLS, and go on
    in the clear.
    """
    context = tls_context(settings)
    first = context is not None
    if settings.nats_nkey_seed is None:
        return NatsSecurity(ssl_context=context, tls_handshake_first=first)
    seed = settings.nats_nkey_seed.get_secret_value()
    return NatsNKey.from_seed(seed, ssl_context=context, tls_handshake_first=first)


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
