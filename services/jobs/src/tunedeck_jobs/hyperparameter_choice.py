"""Which settings a job gets from what its client sent, and what of them changes nothing."""

from typing import Any

from pydantic import ValidationError

from tunedeck_contracts.errors import FieldProblem, ValidationFailed
from tunedeck_contracts.hyperparameters import ChosenHyperparameters, encode_uid, unheeded
from tunedeck_contracts.jobs import JobHyperparameters
from tunedeck_contracts.model_saving import ModelSaving


def choose(requested: dict[str, Any]) -> tuple[JobHyperparameters, list[str]]:
    """The job's settings, and what the client should know about them.

    Fields win over a uid, a uid of ours alone is decoded, a foreign uid is
    kept as a name; alone it gives the defaults and a problem. What is asked
    for and changes nothing in a run is a problem too.

    Raises:
        ValidationFailed: with every wrong field at once.
    """
    try:
        chosen = ChosenHyperparameters.model_validate(requested)
    except ValidationError as error:
        raise _failed(
            [FieldProblem(loc=_path(*found["loc"]), message=found["msg"]) for found in error.errors()]
        ) from None
    settings = chosen.settings()
    problems = unheeded(settings)
    if chosen.is_foreign and not chosen.given:
        problems.append(f"The hyperparameters {chosen.uid!r} are not known here; the defaults are used.")
    uid = chosen.uid if chosen.uid is not None and chosen.is_foreign else encode_uid(settings)
    return JobHyperparameters(uid=uid, **settings.model_dump()), problems


def check_saving(saving: ModelSaving, settings: JobHyperparameters) -> None:
    """Refuse what cannot be done with a model that is trained so.

    Raises:
        ValidationFailed: a merged model is wanted of weights that have 4 bits.
    """
    if saving.save_merged and settings.method == "qlora":
        problem = FieldProblem(
            loc="modelSaving.saveMerged",
            message="the method 'qlora' trains beside a model in 4 bits, into which an adapter cannot be "
            "merged without loss; leave saveMerged out, or choose the method 'lora'",
        )
        raise _failed([problem])


def unheeded_saving(
    saving: ModelSaving, settings: JobHyperparameters, stop_after_steps: int | None = None
) -> list[str]:
    """A sentence for each wish about the tuned model that changes nothing."""
    sentences = []
    if saving.save_merged and settings.method == "full":
        sentences.append("saveMerged: the method 'full' saves a whole model; it has no effect.")
    if not saving.save_model:
        wishes = {"saveMerged": saving.save_merged, "pushToHub": saving.push_to_hub}
        sentences += [
            f"{name}: saveModel is false, so there are no files; it has no effect."
            for name, wanted in wishes.items()
            if wanted
        ]
    elif saving.push_to_hub and stop_after_steps is not None:
        sentences.append("pushToHub: with stopAfterSteps no model is kept; it has no effect.")
    if saving.make_public and not saving.push_to_hub:
        sentences.append("makePublic: pushToHub is false; it has no effect.")
    return sentences


def _path(*parts: object) -> str:
    return ".".join(["configuration", "hyperparameters", *map(str, parts)])


def _failed(problems: list[FieldProblem]) -> ValidationFailed:
    sentence = "; ".join(f"{problem.loc}: {problem.message}" for problem in problems)
    return ValidationFailed(f"The request is not valid: {sentence}.", problems)
