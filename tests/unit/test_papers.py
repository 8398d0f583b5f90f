"""What the papers point to is there: files, targets of make, decisions."""

import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAPERS = [
    *ROOT.glob("*.md"),
    # The interface's own specification is kept as it came.
    *(path for path in ROOT.glob("docs/*.md") if path.name != "api.md"),
    *ROOT.glob("docs/adr/*.md"),
    *ROOT.glob("*/README.md"),
    *ROOT.glob("*/*/README.md"),
]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
DECISIONS = sorted(ROOT.glob("docs/adr/*.md"))
each_paper = pytest.mark.parametrize("paper", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))


@each_paper
def test_every_link_to_a_file_leads_to_one(paper: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", paper.read_text())
    assert [link for link in links if not (paper.parent / link).exists()] == []


@each_paper
def test_every_target_of_make_is_in_the_makefile(paper: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make\s([a-z]+)", paper.read_text(), re.MULTILINE))
    assert named <= targets


def test_what_contributing_shows_of_the_code_is_the_code() -> None:
    sources = [path for folder in ("libs", "services") for path in (ROOT / folder).rglob("src/**/*.py")]
    shown = re.findall(r"^ *```python\n(.*?)^ *```$", CONTRIBUTING, re.MULTILINE | re.DOTALL)
    assert shown
    code = "\n".join(path.read_text() for path in sources)
    assert [one for one in shown if textwrap.dedent(one) not in code] == []


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_the_files_that_a_map_names_are_there(name: str) -> None:
    """`trainer/recipe.py` is short for the one in the package tunedeck_trainer."""
    named = re.findall(r"`([\w/.-]+\.(?:py|json|txt|toml|conf|md))`", (ROOT / name).read_text())
    folders = ("libs", "services", "cli", "deploy", "tests", "scripts", "docs")
    there = [str(path) for folder in folders for path in (ROOT / folder).rglob("*")]
    there += map(str, ROOT.glob("*"))
    assert len(named) > 10
    ends = {one: (f"/{one}", f"/tunedeck_{one}") for one in named}
    assert [one for one, end in ends.items() if not any(path.endswith(end) for path in there)] == []


def test_decisions_are_numbered_without_a_hole_and_fit_one_screen() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    for path in DECISIONS:
        text = path.read_text()
        assert text.startswith(f"# {int(path.name[:4])}. ") and "**Decided.**" in text, path
        assert len(text.splitlines()) <= 50, path
