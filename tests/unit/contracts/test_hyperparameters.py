"""The bounds of hyperparameters, and the uid of a set of them, which is reversible."""

import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tunedeck_contracts.hyperparameters import LONGEST_UID, Hyperparameters, decode_uid, encode_uid, unheeded

NAMES = {
    "learning_rate",
    "batch_size",
    "epochs",
    "max_steps",
    "warmup_steps",
    "weight_decay",
    "scheduler",
    "optimizer",
    "gradient_accumulation_steps",
    "max_grad_norm",
    "max_length",
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "use_rslora",
    "use_dora",
    "target_modules",
    "method",
    "precision",
    "seed",
    "eval_steps",
    "save_steps",
    "validation_split",
    "validation_rows",
    "early_stopping_patience",
}
EARLIER_UIDS = {
    "hp181sshfuwwaec88hl": Hyperparameters(),
    "hp1180qx4dy9kdx1m9c2heqhnhpxbrz2hij": Hyperparameters(epochs=2),
    "hp136lsf8v439c8a9aqrhc4awxat26ui7ntx2vl216bjbbgq0q2zp5hnsur5z3csrhxmkv36uk8t3pd9mf5nz2q7btg70t9symqmt"
    "mnw8xeudgmmz6wl6v1ti9urye6yv3gz7nmfgpgqfabg3f49bukp253rqroyf9m2mexo6rzxtw": Hyperparameters(
        learning_rate=1e-3,
        max_steps=30,
        validation_rows=32,
        max_length=128,
        target_modules=["q_proj", "v_proj"],
        seed=7,
    ),
}

module_names = st.text(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.", min_size=1, max_size=64
)
settings = st.builds(
    Hyperparameters,
    learning_rate=st.floats(1e-8, 1.0, exclude_min=True),
    batch_size=st.integers(1, 1024),
    max_steps=st.none() | st.integers(1, 10_000_000),
    scheduler=st.sampled_from(["linear", "cosine", "constant"]),
    optimizer=st.sampled_from(["adamw", "sgd", "adafactor", "adagrad", "rmsprop"]),
    weight_decay=st.floats(0, 1),
    max_grad_norm=st.floats(1e-8, 1000, exclude_min=True),
    lora_dropout=st.floats(0, 1, exclude_max=True),
    use_rslora=st.booleans(),
    use_dora=st.booleans(),
    validation_split=st.floats(0, 1, exclude_min=True, exclude_max=True),
    target_modules=st.just("all-linear")
    | st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=500)
    | st.lists(module_names, min_size=1, max_size=20),
    method=st.sampled_from(["lora", "qlora", "full"]),
    precision=st.sampled_from(["auto", "fp32", "bf16", "fp16"]),
    save_steps=st.none() | st.integers(1, 1_000_000),
    early_stopping_patience=st.none() | st.integers(1, 1000),
    seed=st.integers(0, 2**32 - 1),
)


def test_every_field_has_its_name_a_default_and_a_sentence() -> None:
    fields = Hyperparameters.model_fields
    assert set(fields) == NAMES
    assert all(field.description and not field.is_required() for field in fields.values())


def test_every_number_has_bounds() -> None:
    schema = Hyperparameters.model_json_schema()["properties"]
    for name, field in schema.items():
        for kind in field.get("anyOf", [field]):
            if kind.get("type") in ("integer", "number"):
                assert {"minimum", "exclusiveMinimum"} & kind.keys(), name
                assert {"maximum", "exclusiveMaximum"} & kind.keys(), name


@given(settings)
def test_a_uid_gives_its_settings_back(one: Hyperparameters) -> None:
    uid = encode_uid(one)
    assert decode_uid(uid) == one
    assert uid.isalnum() and uid == uid.lower()
    assert len(uid) <= LONGEST_UID


def test_the_same_settings_have_the_same_uid_and_others_another() -> None:
    assert encode_uid(Hyperparameters(epochs=2)) == encode_uid(Hyperparameters(epochs=2))
    assert encode_uid(Hyperparameters(epochs=2)) != encode_uid(Hyperparameters(epochs=4))


@pytest.mark.parametrize("uid", EARLIER_UIDS)
def test_a_uid_of_before_the_newer_fields_means_what_it_meant(uid: str) -> None:
    assert decode_uid(uid) == EARLIER_UIDS[uid]
    assert encode_uid(EARLIER_UIDS[uid]) == uid


@given(
    st.text(max_size=200) | st.text("0123456789abcdefghijklmnopqrstuvwxyz", max_size=200).map("hp1".__add__)
)
def test_a_foreign_uid_is_none_and_never_an_error(uid: str) -> None:
    decoded = decode_uid(uid)
    assert decoded is None or isinstance(decoded, Hyperparameters)


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": float("nan")},
        {"learning_rate": 0},
        {"learning_rate": 1.5},
        {"validation_split": 1},
        {"optimizer": "adam"},
        {"precision": "fp8"},
        {"method": "dora"},
        {"use_dora": 1},
        {"use_rslora": "true"},
        {"save_steps": 0},
        {"early_stopping_patience": 0},
        {"target_modules": []},
        {"target_modules": ["q_proj"] * 21},
        {"target_modules": ["q proj"]},
        {"target_modules": ""},
        {"target_modules": 7},
        {"batch_size": True},
        {"batch_size": "8"},
        {"batch_size": 8.5},
        {"max_steps": "30"},
        {"learning_rate": True},
        {"learning_rate": "0.001"},
    ],
    ids=str,
)
def test_what_cannot_train_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as refused:
        Hyperparameters.model_validate(wrong)
    assert [found["loc"] for found in refused.value.errors()] == [tuple(wrong)]


def test_a_whole_number_may_stand_for_any_number() -> None:
    assert Hyperparameters.model_validate_json('{"learning_rate": 1}').learning_rate == 1.0


def test_every_wrong_field_is_reported_at_once() -> None:
    wrong: dict[str, typing.Any] = {"learning_rate": 2, "epochs": 0, "optimizer": "adam", "lora_r": "many"}
    with pytest.raises(ValidationError) as refused:
        Hyperparameters.model_validate(wrong)
    assert {found["loc"][0] for found in refused.value.errors()} == set(wrong)


def test_what_changes_nothing_in_a_run_is_said() -> None:
    assert unheeded(Hyperparameters(lora_r=4, early_stopping_patience=2)) == []
    assert [one.partition(":")[0] for one in unheeded(Hyperparameters(method="full", lora_r=4))] == ["lora_r"]
    both = Hyperparameters(method="full", use_rslora=True, use_dora=True)
    assert [one.partition(":")[0] for one in unheeded(both)] == ["use_rslora", "use_dora"]
    assert unheeded(Hyperparameters(save_steps=10, use_rslora=True, use_dora=True)) == []
