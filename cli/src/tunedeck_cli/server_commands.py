"""How nats-server and mongod are run on one machine; the tests run them the same way."""

from pathlib import Path

from tunedeck_cli import binaries
from tunedeck_cli.ports import LOOPBACK
from tunedeck_contracts.streams import MAX_PAYLOAD

REPLICA_SET = "tunedeck"


def nats_configuration(port: int, store: Path) -> str:
    """nats-server's configuration: loopback only, no monitoring port, every ack synced to the disk."""
    return (
        f"server_name: tunedeck\n"
        f"listen: {LOOPBACK}:{port}\n"
        f"max_payload: {MAX_PAYLOAD}\n"
        f'jetstream {{\n  store_dir: "{store}"\n  sync_interval: always\n}}\n'
    )


def nats_command(configuration: Path) -> list[str]:
    """Runs nats-server in the foreground, logging to standard error."""
    return [str(binaries.nats_server()), "--config", str(configuration)]


def mongod_command(port: int, data: Path) -> list[str]:
    """Runs mongod in the foreground as the one node of a replica set, logging to standard output."""
    return [
        str(binaries.mongod()),
        *("--dbpath", str(data)),
        *("--bind_ip", LOOPBACK),
        *("--port", str(port)),
        *("--replSet", REPLICA_SET),
        *("--oplogSize", "64"),
        *("--wiredTigerCacheSizeGB", "0.25"),
        "--nounixsocket",
        # No other node could take over, so there is nothing to wait for before it stops.
        *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"),
    ]


def nats_url(port: int) -> str:
    """The address of the bus."""
    return f"nats://{LOOPBACK}:{port}"


def mongo_url(port: int) -> str:
    """The address of the database."""
    return f"mongodb://{LOOPBACK}:{port}/?replicaSet={REPLICA_SET}"
