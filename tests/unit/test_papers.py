"""What the papers point to is there: files, targets of make, decisions."""

import re
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


def test_decisions_are_numbered_without_a_hole_and_fit_one_screen() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    for path in DECISIONS:
        text = path.read_text()
        assert text.startswith(f"# {int(path.name[:4])}. ") and "**Decided.**" in text, path
        assert len(text.splitlines()) <= 50, path
