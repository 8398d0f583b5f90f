"""What each image holds: installed from its Dockerfile's own line into a clean virtual environment."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.images.container import Image
from tests.images.dockerfiles import OURS, PROVISION, ROOT, USER, Dockerfile, dockerfile
from tunedeck_cli import binaries

INSTALL_SECONDS = 900.0
MONGO_USER = 999
_PASSWD = f"root:x:0:0::/root:/bin/sh\ntunedeck:x:{USER}:{USER}::/nonexistent:/usr/sbin/nologin\n"


class Images:
    """Builds each once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._passwd = folder / "passwd"
        self._passwd.write_text(_PASSWD)
        self._built: dict[str, Image] = {}

    def __getitem__(self, service: str) -> Image:
        """The image of a service of docker-compose.yml."""
        name = PROVISION if service in ("secrets", "keeper") else service
        if name not in self._built:
            self._built[name] = self._ours(name) if name in OURS else getattr(self, f"_{name}")()
        return self._built[name]

    def environment(self, name: str) -> Path:
        """The virtual environment of one of `OURS`."""
        return self[name].files["/opt/tunedeck"]

    def _ours(self, name: str) -> Image:
        file = dockerfile(name)
        target = self._folder / name
        _run([sys.executable, "-m", "venv", str(target)])
        pip = [str(target / "bin" / "pip"), "install", "--quiet", "--constraint", "constraints.txt"]
        _run([*pip, *file.installed])
        _move_scripts(target)
        return Image(
            {"/opt/tunedeck": target, "/etc/passwd": self._passwd},
            entrypoint=file.entrypoint,
            command=file.command,
            healthcheck=file.healthcheck,
            environment=file.environment,
        )

    def _nats(self) -> Image:
        file = Dockerfile(ROOT / "deploy" / "nats" / "Dockerfile")
        *sources, target = file.all("COPY")[-1].split()[1:]
        configuration = {f"{target}{Path(source).name}": ROOT / source for source in sources}
        return Image(
            {
                "/opt/bin/nats-server": binaries.nats_server(),
                "/opt/bin/healthcheck": ROOT / "deploy" / "nats" / "healthcheck.sh",
                **self._busybox("nc"),
                **configuration,
            },
            command=file.command,
            healthcheck=file.healthcheck,
        )

    @staticmethod
    def _busybox(*names: str) -> dict[str, Path]:
        """Commands of Alpine, on which the image is made."""
        busybox = shutil.which("busybox")
        assert busybox is not None
        return {f"/opt/bin/{name}": Path(busybox) for name in names}

    def _mongo(self) -> Image:
        entrypoint = self._folder / "docker-entrypoint.sh"
        entrypoint.write_text('#!/bin/sh\nexec /opt/tunedeck/bin/python /opt/mongo_entrypoint.py "$@"\n')
        entrypoint.chmod(0o755)
        mongod = binaries.mongod()
        return Image(
            {
                f"/opt/bin/{mongod.name}": mongod,
                "/opt/bin/docker-entrypoint.sh": entrypoint,
                "/opt/mongo_entrypoint.py": Path(__file__).with_name("mongo_entrypoint.py"),
                "/opt/tunedeck": self.environment(PROVISION),
            },
            # In place of mongosh.
            healthcheck=["/opt/tunedeck/bin/python", "-c", _LISTENS],
        )

    def _proxy(self) -> Image:
        caddy = shutil.which("caddy")
        assert caddy is not None
        return Image(
            {"/opt/bin/caddy": Path(caddy), **self._busybox("wget")},
            command=["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"],
            environment={"XDG_CONFIG_HOME": "/config", "XDG_DATA_HOME": "/data"},
        )


_LISTENS = "import socket; socket.create_connection(('mongo', 27017), 5)"


def _run(command: list[str]) -> None:
    ran = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
    )
    assert ran.returncode == 0, f"{' '.join(command)}\n{ran.stderr[-3000:]}"


def _move_scripts(environment: Path) -> None:
    """The first line of a command names the place where its environment was made."""
    for script in (environment / "bin").glob("tunedeck*"):
        script.write_text(script.read_text().replace(str(environment), "/opt/tunedeck", 1))
