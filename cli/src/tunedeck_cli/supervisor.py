"""supervisord as a child process of this one."""

import contextlib
import fcntl
import signal
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

import psutil
from supervisor.xmlrpc import SupervisorTransport

from tunedeck_cli.errors import CommandFailed
from tunedeck_cli.home import Home

FORMER_SECONDS = 60.0


class Supervisor:
    """Runs supervisord in a session of its own: Ctrl-C reaches this process alone, which then stops it."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, configuration: str, environment: Mapping[str, str]) -> None:
        """Write the configuration and start. The programs inherit `environment`."""
        path = self._home.run / "supervisord.conf"
        path.write_text(configuration)
        bound = [sys.executable, "-m", "tunedeck_cli.bound"]
        command = [*bound, sys.executable, "-m", "tunedeck_cli.supervisord", "-n", "-c", str(path)]
        with (
            _when_former_is_gone(self._home.run / "supervisord.lock") as lock,
            (self._home.logs / "supervisord.out").open("wb") as output,
        ):
            self._home.socket.unlink(missing_ok=True)
            self._process = subprocess.Popen(
                command,
                pass_fds=(lock.fileno(),),
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

    def wait(self) -> None:
        """Wait until supervisord ends."""
        if self._process is not None:
            self._process.wait()

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


@contextlib.contextmanager
def _when_former_is_gone(path: Path) -> Iterator[IO[str]]:
    """A lock that supervisord inherits and keeps as long as it lives.

    That of a stack that was killed still stops its programs, and removes the socket that it had last.
    """
    deadline = time.monotonic() + FORMER_SECONDS
    with path.open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise CommandFailed(
                        "The supervisord of a stack that was killed has not ended within "
                        f"{FORMER_SECONDS:g} s; its process id is in {path.with_suffix('.pid')}: end it."
                    ) from None
                time.sleep(0.05)
        yield lock


def _kill(family: list[psutil.Process]) -> None:
    """A stopped supervisord has stopped its programs; this is for one that could not."""
    _, alive = psutil.wait_procs(family, timeout=2)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=5)
