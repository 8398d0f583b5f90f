"""Which settings a job gets."""

import pytest

from tunedeck_contracts.errors import ValidationFailed
from tunedeck_contracts.hyperparameters import Hyperparameters, encode_uid
from tunedeck_jobs.hyperparameter_choice import choose


def test_fields_win_and_a_foreign_uid_is_kept() -> None:
    chosen, problems = choose({"uid": "config-123", "learning_rate": 0.001})
    assert (chosen.uid, chosen.learning_rate, problems) == ("config-123", 0.001, [])


def test_a_uid_alone_is_decoded() -> None:
    uid = encode_uid(Hyperparameters(epochs=7))
    chosen, problems = choose({"uid": uid})
    assert (chosen.epochs, chosen.uid, problems) == (7, uid, [])


def test_fields_change_a_decoded_uid() -> None:
    chosen, _ = choose({"uid": encode_uid(Hyperparameters(epochs=7)), "batch_size": 2})
    assert (chosen.epochs, chosen.batch_size) == (7, 2)
    assert chosen.uid == encode_uid(Hyperparameters(epochs=7, batch_size=2))


def test_an_unknown_uid_alone_gives_the_defaults_and_says_so() -> None:
    chosen, problems = choose({"uid": "config-123"})
    assert chosen.model_dump(exclude={"uid"}) == Hyperparameters().model_dump()
    assert "config-123" in problems[0]


def test_unknown_keys_are_ignored() -> None:
    assert choose({"status": "completed", "fence": 9})[0].uid == encode_uid(Hyperparameters())


@pytest.mark.parametrize("uid", [1, "", "x" * 2001, ["a"]])
def test_a_uid_that_is_none(uid: object) -> None:
    with pytest.raises(ValidationFailed, match="uid"):
        choose({"uid": uid})
