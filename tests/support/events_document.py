"""docs/events.md as text, and the fenced blocks in it."""

import re
from pathlib import Path

DOCUMENT = (Path(__file__).parents[2] / "docs" / "events.md").read_text()


def block(language: str, after: str) -> str:
    """The first fenced block in a language after some text."""
    found = re.search(rf"^```{language}\n(.*?)^```$", DOCUMENT.partition(after)[2], re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/events.md has no {language} after {after!r}"
    return found[1]
