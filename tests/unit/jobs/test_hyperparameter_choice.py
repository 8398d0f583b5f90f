"""Which settings a job gets."""

import pytest

from tunedeck_contracts.errors import ValidationFailed
from tunedeck_contracts.hyperparameters import Hyperparameters, encode_uid
from tunedeck_contracts.model_saving import ModelSaving
from tunedeck_jobs.hyperparameter_choice import check_saving, choose, unheeded_saving


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


def test_every_wrong_field_is_reported_at_once_with_its_path() -> None:
    with pytest.raises(ValidationFailed) as refused:
        choose({"learning_rate": 2, "epochs": 0, "optimizer": "adam"})
    assert [problem.loc for problem in refused.value.errors or []] == [
        "configuration.hyperparameters.learning_rate",
        "configuration.hyperparameters.epochs",
        "configuration.hyperparameters.optimizer",
    ]


@pytest.mark.parametrize("modules", [[], ["q proj"], "", 7, {"a": 1}, None])
def test_wrong_modules_are_one_problem_under_the_name_of_their_field(modules: object) -> None:
    with pytest.raises(ValidationFailed) as refused:
        choose({"target_modules": modules})
    [problem] = refused.value.errors or []
    assert problem.loc == "configuration.hyperparameters.target_modules"
    assert "'all-linear', a list of 1 to 20 ends of modules' names" in problem.message


def test_what_will_not_be_done_is_a_problem_also_by_uid() -> None:
    useless = Hyperparameters(method="full", lora_r=4)
    for requested in ({"method": "full", "lora_r": 4}, {"uid": encode_uid(useless)}):
        chosen, problems = choose(requested)
        assert chosen.lora_r == 4
        assert problems == [
            "lora_r: the method 'full' trains the whole model and has no LoRA matrices; it has no effect."
        ]


def test_a_merged_model_of_four_bits_is_refused_before_anything_is_trained() -> None:
    qlora, _ = choose({"method": "qlora"})
    with pytest.raises(ValidationFailed, match=r"modelSaving.saveMerged: the method 'qlora'"):
        check_saving(ModelSaving(save_merged=True), qlora)
    check_saving(ModelSaving(), qlora)
    check_saving(ModelSaving(save_merged=True), choose({"method": "lora"})[0])


def test_wishes_about_the_model_that_change_nothing_are_said() -> None:
    lora, full = choose({})[0], choose({"method": "full"})[0]
    assert unheeded_saving(ModelSaving(save_merged=True), lora) == []
    assert "saves a whole model" in unheeded_saving(ModelSaving(save_merged=True), full)[0]
    nothing = ModelSaving(save_model=False, save_merged=True, push_to_hub=True, model_name="sums")
    assert [one.partition(":")[0] for one in unheeded_saving(nothing, lora)] == ["saveMerged", "pushToHub"]
    pushed = ModelSaving(push_to_hub=True, model_name="sums")
    assert unheeded_saving(pushed, lora) == []
    assert unheeded_saving(pushed, lora, 3) == [
        "pushToHub: with stopAfterSteps no model is kept; it has no effect."
    ]
    assert unheeded_saving(ModelSaving(make_public=True), lora)[0].startswith(
        "makePublic: pushToHub is false"
    )
