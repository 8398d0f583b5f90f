"""supervisord's configuration for the embedded stack, as text."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunedeck_cli.home import Home

SERVICES = ("catalog", "jobs", "telemetry", "trainer", "gateway")
PROVISION = "provision"


@dataclass(frozen=True)
class Program:
    """One program. Lower priorities start first and stop last."""

    name: str
    command: Sequence[str]
    priority: int
    stop_seconds: int = 20
    one_shot: bool = False


def service_programs() -> list[Program]:
    """Provisioning and the five services, each with `python -m`."""
    services = [Program(name, [sys.executable, "-m", f"tunedeck_{name}"], priority=30) for name in SERVICES]
    provisioning = [sys.executable, "-m", "tunedeck_chassis.provisioning"]
    return [Program(PROVISION, provisioning, priority=20, one_shot=True), *services]


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
    restart = "unexpected" if program.one_shot else "true"
    return f"""[program:{program.name}]
command={_escaped(shlex.join(bound))}
priority={program.priority}
autostart=true
autorestart={restart}
exitcodes=0
startsecs={0 if program.one_shot else 1}
startretries=1000
stopsignal=TERM
stopwaitsecs={program.stop_seconds}
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile={_escaped(home.logs / f"{program.name}.log")}
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=3
"""


def _escaped(value: str | Path) -> str:
    """supervisord expands % and takes ' ;' for a comment."""
    return str(value).replace("%", "%%")
