"""Which names a tuned model may have on the Hub: what huggingface_hub itself takes, and no other."""

import pytest
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from pydantic import ValidationError

from tunedeck_contracts.model_saving import (
    PUSH_HINTS,
    ModelSaving,
    PushProblem,
    StoredArtifact,
    is_repository_name,
)

NAMES = (
    *("sums", "writer/sums", "a", "a.b-c_d", "writer/a.b", "9/9", "_a", "a_", "x" * 96, "x" * 97),
    *("", " ", "my model", "a/b/c", "-a", "a-", ".a", "a.", "a--b", "a..b", "a.git", "/a", "a/", "-a/b"),
    *("a-/b", "a/b\n", "Größe", "$a", "a/" + "x" * 97),
)


@pytest.mark.parametrize("name", NAMES)
def test_names_are_those_that_the_hub_takes(name: str) -> None:
    try:
        validate_repo_id(name)
        is_taken = True
    except HFValidationError:
        is_taken = False
    assert is_repository_name(name) is is_taken


def test_a_push_needs_a_name_that_the_hub_takes() -> None:
    assert ModelSaving(model_name="My model").push_to_hub is False
    with pytest.raises(ValidationError, match="pushToHub needs a modelName that the Hub takes"):
        ModelSaving(model_name="My model", push_to_hub=True)


def test_every_problem_has_a_hint() -> None:
    assert set(PUSH_HINTS) == set(PushProblem)


@pytest.mark.parametrize("path", ["", "/etc/x", "../x", "merged/../../x", "merged//x", "./x", "x/", "x\0y"])
def test_an_artifact_is_below_its_folder(path: str) -> None:
    with pytest.raises(ValidationError, match="is no path of a file below"):
        StoredArtifact(path=path, size=1, sha256="0", blob_id="b")
    StoredArtifact(path="merged/..model.json", size=1, sha256="0", blob_id="b")
