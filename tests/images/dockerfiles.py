"""The Dockerfiles, read by dockerfile-parse."""

import json
import re
import shlex
import tomllib
from pathlib import Path

from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).parents[2]
SERVICES = ("gateway", "catalog", "jobs", "telemetry", "trainer")
PROVISION = "provision"
OPERATOR = "operator"
OURS = (*SERVICES, PROVISION, OPERATOR)
_FOLDERS = {PROVISION: "libs/chassis", OPERATOR: "cli"}
USER = 10001


class Dockerfile:
    """One image's; the environment and the like are its last stage's."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._parsed = DockerfileParser(str(path), cache_content=True, env_replace=False)

    def all(self, instruction: str) -> list[str]:
        """What every such instruction says, in order."""
        return [one["value"] for one in self._parsed.structure if one["instruction"] == instruction]

    @property
    def bases(self) -> list[str]:
        """The image of each stage."""
        return [value.split()[0] for value in self.all("FROM")]

    @property
    def labels(self) -> dict[str, str]:
        return dict(self._parsed.labels)

    @property
    def environment(self) -> dict[str, str]:
        return dict(self._parsed.envs)

    @property
    def command(self) -> list[str]:
        """CMD, which has to be a list: a shell would not hand signals on."""
        return [str(word) for word in json.loads(self.all("CMD")[-1])]

    @property
    def entrypoint(self) -> list[str]:
        """ENTRYPOINT, which few have."""
        return [str(word) for said in self.all("ENTRYPOINT")[-1:] for word in json.loads(said)]

    @property
    def healthcheck(self) -> list[str]:
        """The words of HEALTHCHECK's CMD; none for NONE."""
        words = re.search(r"CMD (\[.*\])", self.all("HEALTHCHECK")[-1])
        return [str(word) for word in json.loads(words[1])] if words else []

    @property
    def installed(self) -> list[str]:
        """What `pip install --constraint constraints.txt` is given."""
        last = next(run for run in reversed(self.all("RUN")) if run.startswith("pip install "))
        words = shlex.split(last)
        assert words[:5] == ["pip", "install", "--no-cache-dir", "--constraint", "constraints.txt"], last
        return words[5:]

    @property
    def folders(self) -> list[str]:
        """The folders that it makes for its user."""
        made = [run for run in self.all("RUN") if run.startswith("install -d ")]
        return [word for run in made for word in shlex.split(run) if word.startswith("/")]


def folder_of(image: str) -> str:
    """The folder of the distribution that one of `OURS` is made for."""
    return _FOLDERS.get(image, f"services/{image}")


def path_of(image: str) -> Path:
    """Where one of `OURS` is described."""
    return ROOT / folder_of(image) / "Dockerfile"


def dockerfile(image: str) -> Dockerfile:
    """One of `OURS`."""
    return Dockerfile(path_of(image))


def version_of(image: str) -> str:
    """The version in the distribution's own file."""
    project = tomllib.loads((path_of(image).parent / "pyproject.toml").read_text())["project"]
    return str(project["version"])
