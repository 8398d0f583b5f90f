"""A message does not change by accident."""

from pathlib import Path

import pytest

from scripts.write_schemas import SCHEMAS, golden, messages

COMMAND = "run `make schemas`, and look at the difference before you commit it"


@pytest.mark.parametrize("name", messages())
def test_message_is_as_its_golden_schema_says(name: str) -> None:
    path: Path = SCHEMAS / f"{name}.json"
    assert path.is_file(), f"{name} has no golden schema: {COMMAND}"
    assert path.read_text() == golden(messages()[name]), f"{name} has changed: {COMMAND}"


def test_no_schema_is_left_of_a_message_that_is_gone() -> None:
    left = {path.stem for path in SCHEMAS.glob("*.json")} - set(messages())
    assert not left, f"{sorted(left)} are no messages any more: {COMMAND}"
