"""supervisord as a child process of this one."""

import contextlib
import signal
import subprocess
import sys
import xmlrpc.client
from collections.abc import Mapping
from typing import Any, cast

import psutil
from supervisor.xmlrpc import SupervisorTransport

from tunedeck_cli.home import Home


class Supervisor:
    """Runs supervisord in a session of its own: Ctrl-C reaches this process alone, which then stops it."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, configuration: str, environment: Mapping[str, str]) -> None:
        """Write the configuration and start. The programs inherit `environment`."""
        path = self._home.run / "supervisord.conf"
        path.write_text(configuration)
        self._home.socket.unlink(missing_ok=True)
        bound = [sys.executable, "-m", "tunedeck_cli.bound"]
        command = [*bound, sys.executable, "-m", "tunedeck_cli.supervisord", "-n", "-c", str(path)]
        with (self._home.logs / "supervisord.out").open("wb") as output:
            self._process = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        """Whether supervisord itself lives."""
        return self._process is not None and self._process.poll() is None

    def states(self) -> dict[str, str]:
        """Each program's state in supervisord's words; empty while supervisord does not answer."""
        return {info["name"]: info["statename"] for info in self._infos()}

    def pid(self, program: str) -> int | None:
        """The process id of a program that runs."""
        pids = {info["name"]: int(info["pid"]) for info in self._infos()}
        return pids.get(program) or None

    def stop(self, seconds: float = 60.0) -> None:
        """SIGTERM, wait while everything stops in order, then SIGKILL what is left."""
        if self._process is None:
            return
        family = self._family()
        if self.running:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        _kill(family)
        self._process.wait()
        self._process = None

    def _family(self) -> list[psutil.Process]:
        assert self._process is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self._process.pid)
            return [parent, *parent.children(recursive=True)]
        return []

    def _infos(self) -> list[dict[str, Any]]:
        transport = SupervisorTransport(None, None, f"unix://{self._home.socket}")
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            return cast(list[dict[str, Any]], proxy.supervisor.getAllProcessInfo())
        except (OSError, xmlrpc.client.Error):
            return []
        finally:
            transport.close()


def _kill(family: list[psutil.Process]) -> None:
    """A stopped supervisord has stopped its programs; this is for one that could not."""
    _, alive = psutil.wait_procs(family, timeout=2)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=5)
