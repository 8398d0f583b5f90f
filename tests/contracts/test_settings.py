"""The papers about settings: committed as they are generated, complete, and true as they stand."""

import io
import re
from pathlib import Path

import pytest
from dotenv import dotenv_values

from scripts.write_settings import DOCUMENT, EXAMPLE, classes, document, example, settings
from tunedeck_chassis.settings import ServiceSettings

ROOT = Path(__file__).parents[2]
COMMAND = "run `make schemas`, and look at the difference before you commit it"
NOT_SETTINGS = {"TUNEDECK_CHAOS_SEED", "TUNEDECK_CRASH_AT", "TUNEDECK_LONG", "TUNEDECK_MEETING_FILE"}
"""Read by tests, by what only tests turn on, and by a trainer's processes of each other."""

DOCUMENTED = {one.variable.upper() for listed in settings().values() for one in listed}


def test_the_committed_papers_are_the_generated_ones() -> None:
    assert DOCUMENT.read_text() == document(), COMMAND
    assert EXAMPLE.read_text() == example(), COMMAND


@pytest.mark.parametrize("settings_class", classes().values(), ids=lambda one: one.__name__)
def test_every_default_of_the_example_is_the_default(
    settings_class: type[ServiceSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_default = settings_class()
    uncommented = re.sub(r"^#(?=[A-Z])", "", EXAMPLE.read_text(), flags=re.MULTILINE)
    said = dotenv_values(stream=io.StringIO(uncommented))
    assert said["TUNEDECK_NATS_URL"]
    for name, value in said.items():
        if value:
            monkeypatch.setenv(name, value)
    assert settings_class() == by_default


def test_every_setting_says_what_it_is() -> None:
    assert [one.variable for listed in settings().values() for one in listed if not one.description] == []


def test_every_variable_that_anything_names_is_documented() -> None:
    files = [path for folder in ("libs", "services", "cli", "deploy") for path in (ROOT / folder).rglob("*")]
    files += [
        *ROOT.glob("*.yml"),
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "scripts").glob("*.sh"),
    ]
    named = {
        name
        for path in files
        if path.suffix in (".py", ".yml", ".yaml", ".md", ".sh", ".conf") or path.name == "Dockerfile"
        for name in re.findall(r"\bTUNEDECK(?:_[A-Z]+)+", path.read_text())
    }
    assert "TUNEDECK_HOME" in named
    assert sorted(named - DOCUMENTED - NOT_SETTINGS) == []
