"""The uid of a set of hyperparameters is reversible."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tunedeck_contracts.hyperparameters import Hyperparameters, decode_uid, encode_uid

settings = st.builds(
    Hyperparameters,
    learning_rate=st.floats(1e-8, 1.0, exclude_min=True),
    batch_size=st.integers(1, 1024),
    max_steps=st.none() | st.integers(1, 10_000_000),
    scheduler=st.sampled_from(["linear", "cosine", "constant"]),
    target_modules=st.just("all-linear") | st.lists(st.text(max_size=20), max_size=5),
    seed=st.integers(0, 2**32 - 1),
)


@given(settings)
def test_a_uid_gives_its_settings_back(one: Hyperparameters) -> None:
    uid = encode_uid(one)
    assert decode_uid(uid) == one
    assert uid.isalnum() and uid == uid.lower()


def test_the_same_settings_have_the_same_uid_and_others_another() -> None:
    assert encode_uid(Hyperparameters(epochs=2)) == encode_uid(Hyperparameters(epochs=2))
    assert encode_uid(Hyperparameters(epochs=2)) != encode_uid(Hyperparameters(epochs=4))


@given(
    st.text(max_size=200) | st.text("0123456789abcdefghijklmnopqrstuvwxyz", max_size=200).map("hp1".__add__)
)
def test_a_foreign_uid_is_none_and_never_an_error(uid: str) -> None:
    decoded = decode_uid(uid)
    assert decoded is None or isinstance(decoded, Hyperparameters)


@pytest.mark.parametrize(
    "wrong", [{"learning_rate": float("nan")}, {"learning_rate": 0}, {"validation_split": 1}]
)
def test_what_cannot_train_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Hyperparameters.model_validate(wrong)
