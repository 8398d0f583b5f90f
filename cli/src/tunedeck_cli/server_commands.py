"""How nats-server and mongod are run on one machine; the tests run them the same way."""

from pathlib import Path

from tunedeck_chassis import secrets
from tunedeck_cli import binaries
from tunedeck_cli.ports import LOOPBACK
from tunedeck_contracts import permissions
from tunedeck_contracts.streams import MAX_PAYLOAD

REPLICA_SET = "tunedeck"


def write_nats_configuration(
    folder: Path, port: int, store: Path, secrets_folder: Path | None, health_port: int | None = None
) -> Path:
    """nats-server's configuration: loopback only, every ack synced to the disk, its health at its own port.

    With the folder of `tunedeck secrets`, only its users may connect. They are files of their own beside the
    one that is returned, as nats-server includes by relative paths alone.
    """
    text = (
        f"server_name: tunedeck\n"
        f"listen: {LOOPBACK}:{port}\n"
        f"max_payload: {MAX_PAYLOAD}\n"
        f'jetstream {{\n  store_dir: "{store}"\n  sync_interval: always\n}}\n'
    )
    if health_port is not None:
        text += f"http: {LOOPBACK}:{health_port}\n"
    if secrets_folder is not None:
        (folder / "users.conf").write_text(permissions.configuration())
        (folder / "nats_keys.conf").write_text(secrets.nats_keys(secrets_folder).read_text())
        text += "include 'users.conf'\n"
    path = folder / "nats.conf"
    path.write_text(text)
    return path


def nats_command(configuration: Path) -> list[str]:
    """Runs nats-server in the foreground, logging to standard error."""
    return [str(binaries.nats_server()), "--config", str(configuration)]


def private_keyfile(folder: Path, secrets_folder: Path) -> Path:
    """A copy of the key file in `folder` that nobody else can read, as mongod demands."""
    path = folder / "mongo_keyfile"
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(secrets.mongo_keyfile(secrets_folder).read_text())
    return path


def mongod_command(port: int, data: Path, keyfile: Path | None = None) -> list[str]:
    """Runs mongod in the foreground as the one node of a replica set, logging to standard output.

    With a key file, only its users may do anything.
    """
    return [
        str(binaries.mongod()),
        *("--dbpath", str(data)),
        *("--bind_ip", LOOPBACK),
        *("--port", str(port)),
        *("--replSet", REPLICA_SET),
        *("--oplogSize", "64"),
        *("--wiredTigerCacheSizeGB", "0.25"),
        "--nounixsocket",
        *(() if keyfile is None else ("--keyFile", str(keyfile))),
        # No other node could take over, so there is nothing to wait for before it stops.
        *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"),
    ]


def nats_url(port: int) -> str:
    """The address of the bus."""
    return f"nats://{LOOPBACK}:{port}"


def mongo_url(port: int) -> str:
    """The address of the database."""
    return f"mongodb://{LOOPBACK}:{port}/?replicaSet={REPLICA_SET}"
