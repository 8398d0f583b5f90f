"""One uvicorn server on two sockets with one lifespan."""

import socket

import uvicorn

from tunedeck_gateway.app import create_app
from tunedeck_gateway.settings import GatewaySettings

PING_SECONDS = 20.0
LONGEST_MESSAGE = 64 * 1024
"""Bytes of a message from a client of the live stream, which has nothing to say."""


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    return listener


def build_server(settings: GatewaySettings, main: socket.socket, monitor: socket.socket) -> uvicorn.Server:
    """The server of both ports; `settings.port` names the one of `main`."""
    config = uvicorn.Config(
        create_app(settings, monitor.getsockname()[1]),
        log_config=None,
        access_log=False,
        lifespan="on",
        http="httptools",
        ws="websockets-sansio",
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PING_SECONDS,
        ws_per_message_deflate=False,
        ws_max_size=LONGEST_MESSAGE,
        timeout_graceful_shutdown=5,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
    )
    return uvicorn.Server(config)


async def serve(settings: GatewaySettings) -> None:
    """Serve the main API and the training monitor until SIGTERM or SIGINT."""
    main = _listen(settings.host, settings.port)
    monitor = _listen(settings.host, settings.monitor_port)
    await build_server(settings, main, monitor).serve(sockets=[main, monitor])
