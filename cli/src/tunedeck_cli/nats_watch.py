"""Has nats-server restarted while its store is broken: after a full disk it stays so until it is restarted.

`python -m tunedeck_cli.nats_watch PORT SOCKET` asks the server's own health check at its monitoring port,
which names the stream that cannot be written, and supervisord at its socket. A publish of our own would not
see it: each stream breaks alone, at the first message that finds no room.
"""

import sys
import time
import xmlrpc.client

import httpx
import structlog
from supervisor.xmlrpc import SupervisorTransport

from tunedeck_chassis.logs import configure
from tunedeck_cli.ports import LOOPBACK

log = structlog.get_logger()

LOOK_SECONDS = 2.0
BROKEN_LOOKS = 3
"""So often in a row, that a server which is just starting is left alone."""


def monitor(port: int) -> httpx.Client:
    """A client of the server's monitoring port, to be kept: one a look is most of what a look costs."""
    return httpx.Client(base_url=f"http://{LOOPBACK}:{port}", timeout=LOOK_SECONDS)


def problem(server: httpx.Client) -> str | None:
    """What the server says is wrong with its streams; None also while it does not answer."""
    try:
        answer = server.get("/healthz")
    except httpx.HTTPError:
        return None
    return None if answer.status_code == 200 else answer.text


def restart(socket: str) -> None:
    """End nats-server in order. supervisord starts it again, also when this process dies in between."""
    transport = SupervisorTransport(None, None, f"unix://{socket}")
    supervisor = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor
    try:
        supervisor.signalProcess("nats", "TERM")
    except (OSError, xmlrpc.client.Error) as error:
        log.warning("nats_not_restarted", error=repr(error))
    finally:
        transport.close()


def main() -> None:
    """Watch until killed."""
    server, socket = monitor(int(sys.argv[1])), sys.argv[2]
    configure("nats-watch", "INFO")
    looks = 0
    while True:
        found = problem(server)
        looks = looks + 1 if found else 0
        if looks == BROKEN_LOOKS:
            log.error("nats_restarted", problem=found)
            restart(socket)
            looks = 0
        time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    main()
