"""What every image is held to."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.write_licences import pinned
from tests.images.dockerfiles import (
    OURS,
    PROVISION,
    ROOT,
    SERVICES,
    USER,
    Dockerfile,
    dockerfile,
    folder_of,
    path_of,
    version_of,
)

ALL = sorted([*map(path_of, OURS), *ROOT.glob("deploy/*/Dockerfile")])
HEAVY = {"torch", "pandas", "transformers", "peft", "accelerate", "tokenizers", "numpy"}
ALLOWED_HEAVY = {
    "catalog": {"pandas", "numpy", "tokenizers"},
    "trainer": HEAVY - {"pandas"},
}


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.parent.name)
def test_hadolint_has_nothing_to_say(path: Path) -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    said = subprocess.run([hadolint, "--no-color", path], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout + said.stderr) == (0, "")


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.parent.name)
def test_bases_are_pinned_and_the_user_is_not_root(path: Path) -> None:
    file = Dockerfile(path)
    for base in file.bases:
        _, _, tag = base.partition(":")
        assert re.match(r"\d+\.\d+", tag), f"{base} has no pinned tag"
    assert file.all("USER")[-1] == f"{USER}:{USER}"
    assert not file.all("ADD"), "COPY says what it does"


@pytest.mark.parametrize("image", OURS)
def test_it_is_built_in_one_stage_and_run_in_another(image: str) -> None:
    file = dockerfile(image)
    assert file.bases == ["python:3.11-slim-bookworm"] * 2
    assert file.all("COPY")[-1] == "--from=build /opt/tunedeck /opt/tunedeck"


@pytest.mark.parametrize("image", OURS)
def test_only_its_own_distributions_are_in_it(image: str) -> None:
    file = dockerfile(image)
    own = ["./libs/contracts", "./libs/chassis"] + ([] if image == PROVISION else [f"./{folder_of(image)}"])
    assert file.installed == own
    copied = {copy.split()[0] for copy in file.all("COPY") if not copy.startswith("--from")}
    assert copied == {"constraints.txt", "libs"} | {one.removeprefix("./") for one in own[2:]}


@pytest.mark.parametrize("image", OURS)
def test_labels_say_what_it_is(image: str) -> None:
    labels = dockerfile(image).labels
    prefix = "org.opencontainers.image."
    assert labels[f"{prefix}title"] == f"tunedeck-{image}"
    assert labels[f"{prefix}licenses"] == "Apache-2.0"
    assert labels[f"{prefix}version"] == version_of(image)
    assert {f"{prefix}description", f"{prefix}revision"} <= labels.keys()


@pytest.mark.parametrize("service", SERVICES)
def test_it_runs_the_service_and_has_a_healthcheck(service: str) -> None:
    file = dockerfile(service)
    assert file.command == ["python", "-m", f"tunedeck_{service}"]
    assert file.healthcheck[0] == "python"
    if service != "gateway":
        assert file.healthcheck[-1] == file.environment["TUNEDECK_HEARTBEAT_FILE"]


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_heavy_is_in_it_that_it_does_not_need(service: str) -> None:
    assert _needed_by(f"tunedeck-{service}") & HEAVY == ALLOWED_HEAVY.get(service, set())


def test_the_trainer_says_what_its_variant_needs() -> None:
    (script,) = (run for run in dockerfile("trainer").all("RUN") if run.startswith("case"))
    for variant, index, status, said in [
        ("cpu", "", 1, "TORCH_INDEX_URL"),
        ("rocm", "", 1, "cuda or cpu"),
    ]:
        environment = {"PATH": "/usr/bin:/bin", "VARIANT": variant, "TORCH_INDEX_URL": index}
        ran = subprocess.run(
            ["/bin/sh", "-c", script], env=environment, capture_output=True, text=True, check=False
        )
        assert ran.returncode == status and said in ran.stderr


def _asked_of_pip(folder: Path, **arguments: str) -> list[str]:
    """The words of the one call of pip in the trainer's choice of a variant."""
    (script,) = (run for run in dockerfile("trainer").all("RUN") if run.startswith("case"))
    pip = folder / "pip"
    pip.write_text('#!/bin/sh\necho "$@"\n')
    pip.chmod(0o755)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", **arguments}
    ran = subprocess.run(
        ["/bin/sh", "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    return ran.stdout.split()


def test_the_image_for_cuda_can_keep_models_in_4_bits(tmp_path: Path) -> None:
    words = _asked_of_pip(tmp_path, VARIANT="cuda", TORCH_INDEX_URL="")
    assert words[0] == "install" and words[-1] == "bitsandbytes"
    assert "--constraint" in words and "bitsandbytes" in pinned()


def test_the_index_of_cpu_builds_is_asked_for_torch_alone(tmp_path: Path) -> None:
    """It has not all that torch asks for, least of all in the versions of constraints.txt."""
    words = _asked_of_pip(tmp_path, VARIANT="cpu", TORCH_INDEX_URL="https://index")
    assert words[0] == "install" and words[-3:] == ["--index-url", "https://index", "torch"]
    assert "--no-deps" in words and "--constraint" in words


def _needed_by(root: str) -> set[str]:
    """Names of all that pip would install for a distribution of ours."""
    found: set[str] = set()
    waiting = [Requirement(root)]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name in found and not wanted.extras:
            continue
        found.add(name)
        for line in _requirements(name):
            requirement = Requirement(line)
            extras = wanted.extras or {""}
            if requirement.marker is None or any(
                requirement.marker.evaluate({"extra": one}) for one in extras
            ):
                waiting.append(requirement)
    return found


def _requirements(name: str) -> list[str]:
    if not name.startswith("tunedeck-"):
        return distribution(name).requires or []
    ours = name.removeprefix("tunedeck-")
    folder = ROOT / ("libs" if ours in ("contracts", "chassis") else "services") / ours
    return list(tomllib.loads((folder / "pyproject.toml").read_text())["project"]["dependencies"])
