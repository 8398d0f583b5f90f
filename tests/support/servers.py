"""A real nats-server and a real mongod, each on a free port with a folder of its own."""

import contextlib
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nats
from nats.errors import Error as NatsError

from tunedeck_chassis import replica_set
from tunedeck_chassis.mongo_users import MONGO_USERS
from tunedeck_chassis.provisioning import ProvisionSettings, provision_streams
from tunedeck_chassis.settings import ServiceSettings
from tunedeck_cli import ports, server_commands

START_SECONDS = 30.0
STOP_SECONDS = 20.0


def wait_for(what: str, true: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    """Wait until `true()`; TimeoutError names `what`."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(0.02)


async def provision(nats_url: str) -> list[str]:
    """Make the streams and consumers on a server without users."""
    return await provision_streams(ServiceSettings(nats_url=nats_url))


class Server(ABC):
    """One process on `port` with its data in `folder`, which outlive a kill or restart.

    With the folder of `tunedeck secrets`, only its users are let in, and nothing is provisioned.
    """

    name = "server"

    def __init__(self, folder: Path, port: int | None = None, secrets: Path | None = None) -> None:
        self.folder = folder
        self.secrets = secrets
        self.port = port or ports.free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id while it runs."""
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has written."""
        return (self.folder / f"{self.name}.log").read_text(errors="replace")

    def start(self) -> None:
        """Start, and wait until it can be used."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # Bound to this process: a test run that is killed leaves nothing behind.
        bound = [sys.executable, "-m", "tunedeck_cli.bound", *self.command()]
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(bound, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_for(f"{self.name} on port {self.port}", self._listens)
            self.ready()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """SIGTERM and wait; SIGKILL when that is not enough."""
        if self._process is None:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None

    def restart(self) -> None:
        """Stop in order and start again on the same port with the same data."""
        self.stop()
        self.start()

    @abstractmethod
    def command(self) -> list[str]:
        """What to run in the foreground."""

    def ready(self) -> None:  # noqa: B027 - nothing for a server that is usable once it listens
        """Whatever it needs after it listens."""

    def _listens(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self._process.returncode}:\n{self.log[-2000:]}")
        return ports.accepts(self.port)


def settings_of(user: str, secrets: Path, **given: Any) -> ProvisionSettings:
    """One user's settings, of servers that were started with this folder of `tunedeck secrets`."""
    as_mongo_user = {"mongo_user": user} if user in MONGO_USERS else {}
    return ProvisionSettings(secrets_dir=secrets / user, users_dir=secrets, **as_mongo_user, **given)


class NatsServer(Server):
    """nats-server with JetStream, configured as the embedded stack has it."""

    name = "nats-server"

    @property
    def url(self) -> str:
        """For clients."""
        return server_commands.nats_url(self.port)

    def command(self) -> list[str]:
        configuration = server_commands.write_nats_configuration(
            self.folder, self.port, self.folder / "store", self.secrets
        )
        return server_commands.nats_command(configuration)

    async def clear(self) -> None:
        """Delete every stream with its consumers."""
        client = await nats.connect(self.url, allow_reconnect=False)
        try:
            jetstream = client.jetstream()
            for stream in await jetstream.streams_info():
                with contextlib.suppress(NatsError):
                    await jetstream.delete_stream(stream.config.name or "")
        finally:
            await client.close()


class MongoServer(Server):
    """mongod as the one node of a replica set, as the embedded stack has it."""

    name = "mongod"

    @property
    def url(self) -> str:
        """For clients."""
        return server_commands.mongo_url(self.port)

    def command(self) -> list[str]:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        keyfile = None
        if self.secrets is not None:
            keyfile = server_commands.private_keyfile(self.folder, self.secrets)
        return server_commands.mongod_command(self.port, data, keyfile)

    def ready(self) -> None:
        if self.secrets is None:
            replica_set.prepare(ServiceSettings(mongo_url=self.url))
