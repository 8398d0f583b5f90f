"""The rules of the house that a machine can see: who may import whom, and who may type a subject."""

import ast
import re
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from scripts.write_licences import OWN, needed

ROOT = Path(__file__).parents[2]
SERVICES = ("gateway", "catalog", "jobs", "trainer", "telemetry")
ROOMS = ("__main__.py", "app.py", "settings.py", "py.typed")
SUBJECT = re.compile(
    r"""["'](?:rpc\.|dlq\.|job\.(?:start|event)\b|training\.(?:loss|resources|log|\*)\b|generation\.)"""
)
TRAINING_LIBRARIES = {"torch", "transformers", "peft", "accelerate", "safetensors"}
LONGEST_FILE = 300
DISTRIBUTIONS = metadata.packages_distributions()


def sources(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, f"{folder} has no Python files: the rule would hold nothing"
    return found


def imported(path: Path) -> set[str]:
    """The modules that a file imports, as they are written."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def test_contracts_import_pydantic_and_the_standard_library_alone() -> None:
    allowed = {"pydantic", "tunedeck_contracts"} | set(sys.stdlib_module_names)
    for path in sources("libs/contracts/src"):
        assert packages(path) <= allowed, path


def test_the_chassis_knows_no_service() -> None:
    for path in sources("libs/chassis/src"):
        others = {name for name in packages(path) if name.startswith("tunedeck_")}
        assert others <= {"tunedeck_contracts", "tunedeck_chassis"}, path


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_imports_another(service: str) -> None:
    for path in sources(f"services/{service}/src"):
        others = {name for name in packages(path) if name.startswith("tunedeck_")}
        assert others <= {"tunedeck_contracts", "tunedeck_chassis", f"tunedeck_{service}"}, path


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_the_same_rooms(service: str) -> None:
    room = ROOT / "services" / service / "src" / f"tunedeck_{service}"
    assert [name for name in ROOMS if not (room / name).exists()] == []


def test_only_the_trainer_names_torch() -> None:
    for folder in ("libs", *(f"services/{name}" for name in SERVICES if name != "trainer")):
        for path in sources(folder):
            assert not packages(path) & TRAINING_LIBRARIES, path


@pytest.mark.parametrize("service", [name for name in SERVICES if name != "gateway"])
def test_arrows_run_one_way(service: str) -> None:
    """handlers -> domain -> contracts, repository -> domain; only app.py knows the handlers."""
    package = f"tunedeck_{service}"
    for path in sources(f"services/{service}/src"):
        names = imported(path)
        if path.name not in ("app.py", "__main__.py"):
            assert f"{package}.handlers" not in names and f"{package}.app" not in names, path
        if path.parent.name != "repository" and path.name not in ("repository.py", "documents.py"):
            assert not any(name == "bson" for name in packages(path)), path


def test_app_alone_builds_adapters() -> None:
    """A service's `app.py`, and the gateway's command for keys, which is a program of its own."""
    for service in SERVICES:
        for path in sources(f"services/{service}/src"):
            builds = re.search(r"\b(?:mongo\.connect|create_broker)\(", path.read_text())
            assert not builds or path.name in ("app.py", "keys.py"), path


def test_settings_alone_read_the_environment() -> None:
    """A crash point is armed from outside; the trainer's child gets a part of what its parent has; torch's
    launcher tells the processes of a run on several devices which is which."""
    may = ("crash_points.py", "process.py", "child.py", "launcher.py", "ranks.py")
    for folder in ("libs", "services"):
        for path in sources(folder):
            reads = re.search(r"\bos\.(?:environ|getenv)\b", path.read_text())
            assert not reads or path.name in may, path


@pytest.mark.parametrize("own", OWN)
def test_an_image_has_what_its_distribution_imports(own: str) -> None:
    """Installed alone: by what its pyproject.toml asks for, and what that asks for."""
    asked = needed(own)
    for path in OWN[own].parent.rglob("src/**/*.py"):
        for name in packages(path) - set(sys.stdlib_module_names):
            # An editable distribution is not among them by its package; it has the package's name.
            distributions = {canonicalize_name(one) for one in DISTRIBUTIONS.get(name, [name])}
            assert distributions & asked, f"{path} imports {name}, which {OWN[own]} does not bring"


def test_subjects_are_typed_in_one_file_only() -> None:
    for folder in ("libs", "services", "cli"):
        for path in sources(folder):
            if path.name != "subjects.py":
                found = SUBJECT.findall(path.read_text())
                assert not found, f"{path} types a subject: use tunedeck_contracts.subjects"


def test_files_fit_the_eye_and_none_is_a_drawer() -> None:
    for folder in ("libs", "services", "cli", "scripts"):
        for path in sources(folder):
            assert path.name not in ("utils.py", "common.py", "base.py", "helpers.py"), path
            assert len(path.read_text().splitlines()) <= LONGEST_FILE, path
