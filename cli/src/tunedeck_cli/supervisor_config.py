"""supervisord's configuration for the embedded stack, as text."""

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tunedeck_cli.errors import CommandFailed
from tunedeck_cli.home import Home
from tunedeck_contracts.permissions import PROVISION

SERVICES = ("catalog", "jobs", "telemetry", "trainer", "gateway")


@dataclass(frozen=True)
class Program:
    """One program. Lower priorities start first and stop last; `environment` adds to supervisord's."""

    name: str
    command: Sequence[str]
    priority: int
    stop_seconds: int = 20
    environment: Mapping[str, str] = field(default_factory=dict)


def service_programs(home: Home) -> list[Program]:
    """The five services, each with `python -m` and a login of its own."""
    return [
        Program(name, [sys.executable, "-m", f"tunedeck_{name}"], priority=30, environment=home.login(name))
        for name in SERVICES
    ]


def keeping_programs(home: Home, nats_health: int) -> list[Program]:
    """What keeps nats-server well: its streams are made again when its store was lost, and it is healed."""
    keeper = [sys.executable, "-m", "tunedeck_chassis.keeper"]
    watch = [sys.executable, "-m", "tunedeck_cli.nats_watch", str(nats_health), str(home.socket)]
    return [
        Program("keeper", keeper, priority=20, environment=home.login(PROVISION)),
        Program("nats-watch", watch, priority=20),
    ]


def configuration(home: Home, servers: Sequence[Program], services: Sequence[Program]) -> str:
    """The whole file. The services are one group, so that they stop together and before the servers."""
    names = ",".join(program.name for program in services)
    sections = [_supervisord(home), *[_program(home, program) for program in (*servers, *services)]]
    if names:
        sections.append(f"[group:services]\nprograms={names}\npriority=30\n")
    return "\n".join(sections)


def _supervisord(home: Home) -> str:
    return f"""[unix_http_server]
file={_escaped(home.socket)}
chmod=0600

[supervisord]
nodaemon=true
silent=true
logfile={_escaped(home.logs / "supervisord.log")}
logfile_maxbytes=5MB
logfile_backups=2
pidfile={_escaped(home.run / "supervisord.pid")}
childlogdir={_escaped(home.logs)}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""


def _program(home: Home, program: Program) -> str:
    bound = [sys.executable, "-m", "tunedeck_cli.bound", *program.command]
    environment = ",".join(f'{name}="{_escaped(value)}"' for name, value in program.environment.items())
    return f"""[program:{program.name}]
command={_escaped(shlex.join(bound))}
priority={program.priority}
autostart=true
autorestart=true
startsecs=1
startretries=1000
stopsignal=TERM
stopwaitsecs={program.stop_seconds}
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile={_escaped(home.logs / f"{program.name}.log")}
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=3
environment={environment}
"""


def _escaped(value: str | Path) -> str:
    """supervisord expands %. CommandFailed for what it would take for a comment, however it were written."""
    text = str(value)
    if re.search(r"\s[;#]", text):
        raise CommandFailed(
            f"{text!r} has a blank before ; or #, which supervisord takes for a comment: "
            "choose a TUNEDECK_HOME, and a folder of Tunedeck, without."
        )
    return text.replace("%", "%%")
