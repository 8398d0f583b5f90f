"""Which settings a job gets from what its client sent."""

from typing import Any

from pydantic import ValidationError

from tunedeck_contracts.errors import FieldProblem, ValidationFailed
from tunedeck_contracts.hyperparameters import ChosenHyperparameters, encode_uid, unheeded
from tunedeck_contracts.jobs import JobHyperparameters


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


def _path(*parts: object) -> str:
    return ".".join(["configuration", "hyperparameters", *map(str, parts)])


def _failed(problems: list[FieldProblem]) -> ValidationFailed:
    sentence = "; ".join(f"{problem.loc}: {problem.message}" for problem in problems)
    return ValidationFailed(f"The request is not valid: {sentence}.", problems)
