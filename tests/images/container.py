"""A container without an engine: bubblewrap gives a process the root file system, the user, the secrets and
the volumes that compose would give it. What needs control groups (memory, CPUs, processes) is left out."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.images.compose import Service, environment_of, secrets_of, volumes_of
from tests.images.dockerfiles import ROOT
from tests.images.network import Network

PATH = "/opt/bin:/usr/local/bin:/usr/bin:/bin"
SYSTEM = ["--ro-bind", "/usr", "/usr"]
for _link in ("bin", "sbin", "lib", "lib64"):
    SYSTEM += ["--symlink", f"usr/{_link}", f"/{_link}"]
NEEDED = ("bwrap", "nsenter", "unshare", "setpriv", "ip")


@dataclass(frozen=True)
class Image:
    """What is in it: files of this machine by their place in it; and what its Dockerfile says."""

    files: dict[str, Path]
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "10001:10001"


class Container:
    """One container of a service of docker-compose.yml. `passed` is handed on to it."""

    def __init__(
        self,
        name: str,
        service: Service,
        image: Image,
        network: Network,
        folder: Path,
        passed: dict[str, str],
    ) -> None:
        self.name = name
        self._service = service
        self._image = image
        self._network = network
        self._deployment = folder
        self._own = folder / "containers" / f"{name}-{time.monotonic_ns()}"
        self._own.mkdir(parents=True)
        self._environment = {
            "PATH": PATH,
            "HOME": "/",
            **{key: value.replace("$PATH", PATH) for key, value in image.environment.items()},
            **environment_of(service, passed),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self.address = ""

    @property
    def log(self) -> str:
        """What it has written."""
        return (self._own / "log").read_text(errors="replace")

    def start(self, arguments: list[str] | None = None) -> None:
        """Start it as one of those that answer to its name, with arguments in place of its command."""
        told, tell = os.pipe()
        waits, go = os.pipe()
        entrypoint = self._service.get("entrypoint", self._image.entrypoint)
        command = [*entrypoint, *(arguments or self._service.get("command", self._image.command))]
        words = [word.replace("$$", "$") for word in command]
        bubble = [*self._bubble(), "--info-fd", str(tell), "--block-fd", str(waits), *self._as_user(words)]
        with (self._own / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tunedeck_cli.bound", *bubble],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(tell, waits),
            )
        os.close(tell)
        os.close(waits)
        with os.fdopen(told) as opened, os.fdopen(go, "wb") as gate:
            said = opened.read()
            assert said, f"{self.name} was not made:\n{self.log}"
            self._pid = json.loads(said)["child-pid"]
            if self._service.get("network_mode") != "none":
                self.address = self._network.attach(self._pid, self.name)
            gate.write(b"\n")

    def run(self, command: list[str], seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """`docker compose exec`: a command inside."""
        entered = [
            "nsenter",
            "--target",
            str(self._pid),
            "--mount",
            "--net",
            "--pid",
            "--ipc",
            "--uts",
            "--wd=/",
        ]
        set_ = [f"{name}={value}" for name, value in self._environment.items()]
        inside = [*entered, *self._as_user(["env", "-i", *set_, *command])]
        return subprocess.run(inside, capture_output=True, text=True, timeout=seconds, check=False)

    def check(self) -> subprocess.CompletedProcess[str]:
        """Its healthcheck: the image's stand-in for one, or what compose or the Dockerfile says."""
        said = self._service.get("healthcheck", {}).get("test", [])[1:]
        return self.run(self._image.healthcheck or said)

    def signal(self, name: str) -> None:
        """A signal for what it runs."""
        children = Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text().split()
        subprocess.run(["kill", f"-{name}", *children], check=False)

    def wait(self, seconds: float) -> int:
        """Until it ends; its exit status."""
        assert self._process is not None
        return self._process.wait(seconds)

    def wait_until_healthy(self, seconds: float) -> None:
        """Until its healthcheck passes; fails with what it and the check say."""
        deadline = time.monotonic() + seconds
        while True:
            assert self._process is not None and self._process.poll() is None, (
                f"{self.name} ended:\n{self.log}"
            )
            checked = self.check()
            if checked.returncode == 0:
                return
            assert time.monotonic() < deadline, f"{self.name}: {checked.stderr}\n{self.log}"
            time.sleep(0.5)

    def stop(self, seconds: float = 60) -> None:
        """SIGTERM to what it runs, and wait."""
        if self._process is None or self._process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            self.signal("TERM")
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self.address:
            self._network.forget(self.name, self.address)

    def _as_user(self, words: list[str]) -> list[str]:
        uid, _, gid = str(self._service.get("user", self._image.user)).partition(":")
        rights = "".join(f",+{one.lower()}" for one in self._service.get("cap_add", []))
        return [
            "setpriv",
            f"--reuid={uid}",
            f"--regid={gid}",
            "--clear-groups",
            f"--bounding-set=-all{rights}",
            f"--inh-caps=-all{rights}",
            "--no-new-privs",
            *words,
        ]

    def _bubble(self) -> list[str]:
        words = ["bwrap", *SYSTEM, "--proc", "/proc", "--dev", "/dev", "--die-with-parent", "--new-session"]
        words += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--clearenv"]
        for name, value in self._environment.items():
            words += ["--setenv", name, value]
        mounts = list(self._mounts())
        # Made by bubblewrap itself, they could be entered by root alone.
        for folder in sorted({str(one) for _, _, place in mounts for one in list(Path(place).parents)[:-1]}):
            words += ["--perms", "0755", "--dir", folder]
        for one in self._service["tmpfs"]:
            words += ["--perms", "1777", "--tmpfs", one.partition(":")[0]]
        return [*words, *(word for mount in mounts for word in mount), "--remount-ro", "/"]

    def _mounts(self) -> Iterator[tuple[str, str, str]]:
        for shared in (sys.base_prefix, "/etc/ssl"):
            yield "--ro-bind", shared, shared
        yield "--ro-bind", str(self._network.hosts), "/etc/hosts"
        for place, path in self._image.files.items():
            yield "--ro-bind", str(path), place
        for place, secret in secrets_of(self._service).items():
            yield "--ro-bind", str(self._deployment / secret), place
        yield from self._volumes()

    def _volumes(self) -> Iterator[tuple[str, str, str]]:
        for place, (source, read_only) in volumes_of(self._service).items():
            if source is not None and source.startswith("./deploy/"):
                path = ROOT / source
            elif source is not None and source.startswith("./"):
                path = self._deployment / source
                path.mkdir(exist_ok=True)
            else:
                path = self._deployment / "volumes" / source if source else self._own / "volume"
                if not path.exists():
                    path.mkdir(parents=True)
                    os.chown(path, *map(int, self._service.get("user", self._image.user).split(":")))
            yield ("--ro-bind" if read_only else "--bind"), str(path), place
