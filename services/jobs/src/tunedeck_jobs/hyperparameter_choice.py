"""Which settings a job gets from what its client sent."""

from typing import Any

from pydantic import ValidationError

from tunedeck_contracts.errors import FieldProblem, ValidationFailed
from tunedeck_contracts.hyperparameters import (
    LONGEST_UID,
    Hyperparameters,
    decode_uid,
    encode_uid,
    unheeded,
)
from tunedeck_contracts.jobs import JobHyperparameters


def choose(requested: dict[str, Any]) -> tuple[JobHyperparameters, list[str]]:
    """The job's settings, and what the client should know about them.

    Fields win over a uid, a uid of ours alone is decoded, a foreign uid is
    kept as a name; alone it gives the defaults and a problem. What is asked
    for and changes nothing in a run is a problem too.

    Raises:
        ValidationFailed: with every wrong field at once.
    """
    fields = {name: value for name, value in requested.items() if name in Hyperparameters.model_fields}
    uid = requested.get("uid")
    if uid is not None and not (isinstance(uid, str) and 0 < len(uid) <= LONGEST_UID):
        sentence = f"A uid is a string of 1 to {LONGEST_UID} characters."
        raise _failed([FieldProblem(loc=_path("uid"), message=sentence)])
    decoded = decode_uid(uid) if uid else None
    base = decoded.model_dump() if decoded else {}
    try:
        settings = Hyperparameters.model_validate({**base, **fields})
    except ValidationError as error:
        raise _failed(
            [FieldProblem(loc=_path(*found["loc"]), message=found["msg"]) for found in error.errors()]
        ) from None
    is_foreign = uid is not None and decoded is None
    problems = unheeded(settings)
    if is_foreign and not fields:
        problems.append(f"The hyperparameters {uid!r} are not known here; the defaults are used.")
    kept = uid if is_foreign and uid else encode_uid(settings)
    return JobHyperparameters(uid=kept, **settings.model_dump()), problems


def _path(*parts: object) -> str:
    return ".".join(["configuration", "hyperparameters", *map(str, parts)])


def _failed(problems: list[FieldProblem]) -> ValidationFailed:
    sentence = "; ".join(f"{problem.loc}: {problem.message}" for problem in problems)
    return ValidationFailed(f"The request is not valid: {sentence}.", problems)
