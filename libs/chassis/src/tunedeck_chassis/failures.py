"""What the caller of a failed request is told."""

from pydantic import ValidationError
from pymongo.errors import OperationFailure

from tunedeck_chassis.mongo import is_away
from tunedeck_contracts.errors import (
    FieldProblem,
    InsufficientStorage,
    InternalError,
    TunedeckError,
    Unavailable,
    ValidationFailed,
)

_OUT_OF_DISK_SPACE = 14031
"""https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml"""


def as_tunedeck_error(error: Exception) -> TunedeckError:
    """What a caller is told: never a trace, never a driver's wording."""
    if isinstance(error, TunedeckError):
        return error
    if isinstance(error, ValidationError):
        return validation_failed(error)
    if isinstance(error, OperationFailure) and error.code == _OUT_OF_DISK_SPACE:
        return InsufficientStorage("The database's disk is full: free some space and send it again.")
    if is_away(error):
        return Unavailable("The database does not answer; the request can be sent again.")
    return InternalError("An internal error; the service's log has it under the correlation id.")


def validation_failed(error: ValidationError) -> ValidationFailed:
    """Every wrong field at once, each with its path."""
    problems = [
        FieldProblem(loc=".".join(map(str, found["loc"])) or "body", message=found["msg"])
        for found in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    sentence = "; ".join(f"{problem.loc}: {problem.message}" for problem in problems[:3])
    more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
    return ValidationFailed(f"The request is not valid: {sentence}{more}.", problems)
