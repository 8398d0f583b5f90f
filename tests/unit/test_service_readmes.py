"""What the services' READMEs name is there, and the catalog's names every request."""

import re
from pathlib import Path

import pytest

from tunedeck_contracts import rpc

ROOT = Path(__file__).parents[2]
SERVICES = ROOT / "services"
READMES = sorted(SERVICES.glob("*/README.md"))


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.parent.name)
def test_every_module_that_a_readme_names_is_there(readme: Path) -> None:
    source = readme.parent / "src" / f"tunedeck_{readme.parent.name}"
    named = re.findall(r"`([\w/]+\.py)`", readme.read_text())
    assert named
    assert [name for name in named if not list(source.rglob(name)) and not (ROOT / name).is_file()] == []


def test_the_catalogs_readme_names_its_requests() -> None:
    named = set(re.findall(r"`(\w+\.\w+)`", (SERVICES / "catalog" / "README.md").read_text()))
    requests = [one for one in vars(rpc).values() if isinstance(one, rpc.Rpc) and one.service == "catalog"]
    assert {f"{one.noun}.{one.verb}" for one in requests} <= named
