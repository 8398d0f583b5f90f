"""With a file of certificates, NATS and MongoDB are spoken to by TLS alone, and only if it knows theirs."""

import asyncio
import re
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pymongo
import pytest
import trustme
from pymongo.errors import PyMongoError

from tests.support.servers import MongoServer, NatsServer, settings_of
from tunedeck_chassis import mongo, secrets
from tunedeck_chassis.broker import create_broker
from tunedeck_chassis.connection import connect
from tunedeck_chassis.provisioning import ProvisionSettings, assert_provisioned, provision
from tunedeck_cli import server_commands
from tunedeck_cli.ports import LOOPBACK
from tunedeck_contracts.streams import MAX_PAYLOAD

pytestmark = pytest.mark.connected

DEPLOYED = Path(__file__).parents[3] / "deploy" / "nats"


class TlsNatsServer(NatsServer):
    """As deploy/nats/tls.conf has it."""

    certificate: Path

    def command(self) -> list[str]:
        command = super().command()
        with (self.folder / "nats.conf").open("a") as configuration:
            configuration.write(
                f"tls {{\n  cert_file: '{self.certificate}'\n  key_file: '{self.certificate}'\n"
                "  handshake_first: 2s\n}\n"
            )
        return command


class TlsMongoServer(MongoServer):
    """mongod that takes TLS only."""

    certificate: Path

    def command(self) -> list[str]:
        return [
            *super().command(),
            "--tlsMode",
            "requireTLS",
            "--tlsCertificateKeyFile",
            str(self.certificate),
        ]


@dataclass(frozen=True)
class Servers:
    """Both, with the file of who vouches for them and one of somebody else."""

    nats: NatsServer
    mongo: MongoServer
    secrets: Path
    ca_file: Path
    other_ca_file: Path

    def settings(self, user: str, ca_file: Path | None) -> ProvisionSettings:
        """One user's."""
        urls = {"nats_url": self.nats.url, "mongo_url": self.mongo.url}
        return settings_of(user, self.secrets, tls_ca_file=ca_file, **urls)


@pytest.fixture(scope="module")
def servers(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """With a certificate of their own for the address that they listen on."""
    root = tmp_path_factory.mktemp("tls")
    authority, other = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(root / "ca.pem")
    other.cert_pem.write_to_path(root / "other.pem")
    authority.issue_cert(LOOPBACK).private_key_and_cert_chain_pem.write_to_path(root / "server.pem")
    nats_server = TlsNatsServer(root / "nats", secrets=folder)
    mongo_server = TlsMongoServer(root / "mongo", secrets=folder)
    started = []
    try:
        for server in (nats_server, mongo_server):
            server.certificate = root / "server.pem"
            server.start()
            started.append(server)
        yield Servers(nats_server, mongo_server, folder, root / "ca.pem", root / "other.pem")
    finally:
        for server in started:
            server.stop()


def test_nats_server_takes_the_files_that_containers_have(servers: Servers, tmp_path: Path) -> None:
    """deploy/nats as it is, but for where the certificate lies."""
    certificate = servers.nats.folder.parent / "server.pem"
    for path in (*DEPLOYED.glob("*.conf"), secrets.nats_keys(servers.secrets)):
        text = re.sub(r"/run/secrets/tls_\w+\.pem", str(certificate), path.read_text())
        (tmp_path / path.name).write_text(text)
    assert f"max_payload: {MAX_PAYLOAD}\n" in (tmp_path / "nats.conf").read_text()
    for name in ("nats.conf", "tls.conf"):
        command = [*server_commands.nats_command(tmp_path / name), "-t"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (said.returncode, "is valid" in said.stderr + said.stdout) == (0, True), said.stderr


async def test_a_service_works_over_tls(servers: Servers) -> None:
    changes = await provision(servers.settings("provision", servers.ca_file))
    assert {"stream JOBS made", "MongoDB user jobs made"} <= set(changes)
    settings = servers.settings("jobs", servers.ca_file)
    broker = create_broker(settings, "jobs")
    connection = await broker.connect()
    broker.context.get("closed_guard").stopping = True
    assert isinstance(connection._transport._io_writer.get_extra_info("ssl_object"), ssl.SSLObject)
    await assert_provisioned(connection)
    await broker.stop()
    async with mongo.connect(settings) as client:
        await client["tunedeck_jobs"]["rows"].insert_one({})


async def test_a_server_that_nobody_vouches_for_is_not_spoken_to(servers: Servers) -> None:
    settings = servers.settings("jobs", servers.other_ca_file)
    with pytest.raises(ssl.SSLCertVerificationError):
        await connect(settings, "jobs")
    options = {**mongo.login(settings), "serverSelectionTimeoutMS": 5000}
    with (
        pymongo.MongoClient(servers.mongo.url, **options) as client,
        pytest.raises(PyMongoError, match="certificate verify failed"),
    ):
        client.admin.command("ping")


async def test_a_server_without_tls_is_not_spoken_to(servers: Servers, nats_url: str, mongo_url: str) -> None:
    """nats-py by itself would go on in the clear with a server that says it has no TLS."""
    given = servers.settings("jobs", servers.ca_file)
    settings = given.model_copy(update={"nats_url": nats_url, "mongo_url": mongo_url})
    with pytest.raises((ssl.SSLError, OSError, asyncio.TimeoutError)):
        await connect(settings, "jobs")
    options = {**mongo.login(settings), "serverSelectionTimeoutMS": 500}
    with pymongo.MongoClient(mongo_url, **options) as client, pytest.raises(PyMongoError):
        client.admin.command("ping")


async def test_a_client_without_tls_is_not_let_in(servers: Servers) -> None:
    settings = servers.settings("jobs", None)
    with pytest.raises((ssl.SSLError, OSError, asyncio.TimeoutError)):
        await connect(settings, "jobs")
    options = {**mongo.login(settings), "serverSelectionTimeoutMS": 500}
    with pymongo.MongoClient(servers.mongo.url, **options) as client, pytest.raises(PyMongoError):
        client.admin.command("ping")
