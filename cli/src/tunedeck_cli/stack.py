"""The embedded stack: nats-server, mongod and the five services on this machine."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable

import httpx

from tunedeck_chassis import secrets
from tunedeck_chassis.misprovisioned import Misprovisioned
from tunedeck_chassis.provisioning import ProvisionSettings, provision
from tunedeck_cli import ports, server_commands
from tunedeck_cli.errors import CommandFailed
from tunedeck_cli.home import Home, own_environment
from tunedeck_cli.ports import LOOPBACK, Ports
from tunedeck_cli.supervisor import Supervisor
from tunedeck_cli.supervisor_config import Program, configuration, keeping_programs, service_programs
from tunedeck_contracts.permissions import PROVISION

START_SECONDS = 120.0
_WELL = "RUNNING"
_TAIL_LINES = 15


def _quiet(_: str) -> None:
    """Tells nobody."""


class Stack:
    """Starts everything, waits until it is well, and stops it all.

    `say` gets a sentence at each stage. `with_services=False` starts the two servers alone.
    `environment` is added to what the services get.
    """

    def __init__(
        self,
        home: Home,
        *,
        wanted: Ports | None = None,
        say: Callable[[str], None] = _quiet,
        with_services: bool = True,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.home = home
        self.wanted = wanted or Ports()
        self.ports = self.wanted
        self.supervisor = Supervisor(home)
        self._say = say
        self._with_services = with_services
        self._environment = environment or {}
        self._held = contextlib.ExitStack()

    @property
    def api_url(self) -> str:
        """Where the main API answers."""
        return f"http://{ports.reached_at(self._host)}:{self.ports.api}"

    @property
    def monitor_url(self) -> str:
        """Where the training monitor answers."""
        return f"http://{ports.reached_at(self._host)}:{self.ports.monitor}"

    @property
    def _host(self) -> str:
        """Where the gateway listens."""
        return self._environment.get("TUNEDECK_HOST") or os.environ.get("TUNEDECK_HOST") or LOOPBACK

    @property
    def nats_url(self) -> str:
        """The bus."""
        return server_commands.nats_url(self.ports.nats)

    @property
    def mongo_url(self) -> str:
        """The database."""
        return server_commands.mongo_url(self.ports.mongo)

    def settings(self, user: str) -> ProvisionSettings:
        """How to reach NATS and MongoDB as one of their users."""
        return ProvisionSettings(
            nats_url=self.nats_url,
            mongo_url=self.mongo_url,
            users_dir=self.home.secrets,
            **self.home.credentials(user),
        )

    def start(self, seconds: float = START_SECONDS) -> None:
        """Start and wait until healthy. CommandFailed names the program that is down, with its last lines."""
        self._held.enter_context(self.home.locked())
        try:
            self.ports = ports.choose(self.wanted, self._host)
            addresses = {**self._addresses(), "TUNEDECK_API_URL": self.api_url}
            self._held.enter_context(self.home.telling(addresses))
            secrets.create(self.home.secrets)
            for sentence in ports.differences(self.wanted, self.ports):
                self._say(sentence)
            deadline = time.monotonic() + seconds
            self._start_supervisor()
            self._say("Starting nats-server and mongod")
            self._provision()
            if self._with_services:
                self._say("Starting catalog, jobs, telemetry, trainer and gateway")
            self._wait_until_well(deadline)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything that `start` started, and give the home back. Does nothing the second time."""
        self.supervisor.stop()
        self._held.close()

    def log_tail(self, program: str, lines: int = _TAIL_LINES) -> str:
        """The last lines of a program's log."""
        path = self.home.logs / f"{program}.log"
        if not path.is_file():
            return ""
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])

    def service_environment(self) -> dict[str, str]:
        """What the services get on top of this process's environment."""
        return {
            **self._addresses(),
            "TUNEDECK_MODELS_DIR": str(self.home.models),
            "TUNEDECK_WORK_DIR": str(self.home.work),
            "TUNEDECK_ADAPTERS_DIR": str(self.home.adapters),
            "TUNEDECK_HOST": self._host,
            "TUNEDECK_PORT": str(self.ports.api),
            "TUNEDECK_MONITOR_PORT": str(self.ports.monitor),
            "TUNEDECK_LOG_LEVEL": os.environ.get("TUNEDECK_LOG_LEVEL", "INFO"),
            **self._environment,
        }

    def _addresses(self) -> dict[str, str]:
        return {"TUNEDECK_NATS_URL": self.nats_url, "TUNEDECK_MONGO_URL": self.mongo_url}

    def _start_supervisor(self) -> None:
        services = service_programs(self.home) if self._with_services else []
        text = configuration(self.home, self._servers(), services)
        self.supervisor.start(text, {**own_environment(), **self.service_environment()})

    def _provision(self) -> None:
        try:
            asyncio.run(provision(self.settings(PROVISION)))
        except Misprovisioned as error:
            raise CommandFailed(f"{error}\n{self._diagnosis()}") from error

    def _servers(self) -> list[Program]:
        home = self.home
        nats_configuration = server_commands.write_nats_configuration(
            home.run, self.ports.nats, home.nats_data, home.secrets, self.ports.nats_health
        )
        keyfile = server_commands.private_keyfile(home.run, home.secrets)
        mongod = server_commands.mongod_command(self.ports.mongo, home.mongo_data, keyfile)
        return [
            Program("nats", server_commands.nats_command(nats_configuration), priority=10),
            Program("mongod", mongod, priority=10),
            *keeping_programs(home, self.ports.nats_health),
        ]

    def _wait_until_well(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            if not self.supervisor.running:
                raise CommandFailed(f"supervisord ended:\n{self._supervisor_output()}")
            if self._is_well():
                return
            time.sleep(0.2)
        raise CommandFailed(self._diagnosis())

    def _is_well(self) -> bool:
        if self._down():
            return False
        return self._api_healthy() if self._with_services else ports.accepts(self.ports.nats)

    def _down(self) -> list[str]:
        """Programs that should run and do not."""
        states = self.supervisor.states()
        if not states:
            return ["supervisord"]
        return [name for name, state in states.items() if state != _WELL]

    def _api_healthy(self) -> bool:
        try:
            # By a name that it always answers to, whatever TUNEDECK_ALLOWED_HOSTS says.
            answer = httpx.get(f"{self.api_url}/api/health", headers={"Host": "localhost"}, timeout=5)
            return answer.status_code == 200
        except httpx.HTTPError:
            return False

    def _supervisor_output(self) -> str:
        return (self.home.logs / "supervisord.out").read_text(errors="replace")[-2000:]

    def _diagnosis(self) -> str:
        down = self._down()
        states = self.supervisor.states()
        parts = [f"The stack did not become healthy in time; GET {self.api_url}/api/health is not 200."]
        for name in down or ["gateway"]:
            parts.append(
                f"{name} is {states.get(name, 'silent')}; the end of its log:\n{self.log_tail(name)}"
            )
        parts.append(f"All logs are in {self.home.logs}.")
        return "\n".join(parts)
