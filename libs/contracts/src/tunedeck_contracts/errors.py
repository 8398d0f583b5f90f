"""Errors that cross the wire.

The domain raises one of these with a sentence that says what happened, where
and what to do. The broker middleware turns it into an `ErrorReply`; the
gateway sends those bytes on with `status_code` as the HTTP status.
"""

from typing import ClassVar

from pydantic import Field

from tunedeck_contracts.message import Message


class FieldProblem(Message):
    """One thing wrong with one field: its path and a sentence."""

    loc: str
    message: str


class ErrorReply(Message):
    """The body of every failed request, on the bus and over HTTP."""

    detail: str
    status_code: int
    error_type: str
    errors: list[FieldProblem] | None = Field(default=None, exclude_if=lambda value: value is None)


class TunedeckError(Exception):
    """A request that failed for a reason its caller can be told.

    A subclass's name is the `error_type` on the wire.
    """

    status_code: ClassVar[int] = 500

    def __init__(self, detail: str, errors: list[FieldProblem] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors

    def reply(self) -> ErrorReply:
        """The error as it travels."""
        return ErrorReply(
            detail=self.detail,
            status_code=self.status_code,
            error_type=type(self).__name__,
            errors=self.errors,
        )


class BadRequest(TunedeckError):
    """The request is well-formed, but what it carries cannot be used."""

    status_code = 400


class Unauthorized(TunedeckError):
    """No key that is in force."""

    status_code = 401


class Forbidden(TunedeckError):
    """Whoever asks may not do this."""

    status_code = 403


class NotFound(TunedeckError):
    """What the request speaks of does not exist."""

    status_code = 404


class Conflict(TunedeckError):
    """The state of things does not allow it now."""

    status_code = 409


class Fenced(Conflict):
    """The writer was replaced: a newer fence owns the job."""


class PayloadTooLarge(TunedeckError):
    """More bytes than the limit."""

    status_code = 413


class UnsupportedMediaType(TunedeckError):
    """A body in an encoding that is not taken."""

    status_code = 415


class ValidationFailed(TunedeckError):
    """The body does not have the documented shape; `errors` lists every field."""

    status_code = 422


class TooManyRequests(TunedeckError):
    """More requests than the limit."""

    status_code = 429


class InternalError(TunedeckError):
    """A defect. The log has the trace under the correlation id; the reply never has."""

    status_code = 500


class Unavailable(TunedeckError):
    """Something that the answer needs is away; the same request may succeed later."""

    status_code = 503


class InsufficientStorage(TunedeckError):
    """No room to keep what was sent."""

    status_code = 507


def from_reply(reply: ErrorReply) -> TunedeckError:
    """The exception that a caller on the bus raises for an error reply."""
    known = {error.__name__: error for error in _subclasses(TunedeckError)}
    kind = known.get(reply.error_type)
    if kind is None:
        by_status = {error.status_code: error for error in TunedeckError.__subclasses__()}
        kind = by_status.get(reply.status_code, InternalError)
    return kind(reply.detail, reply.errors)


def _subclasses(root: type[TunedeckError]) -> list[type[TunedeckError]]:
    return [found for child in root.__subclasses__() for found in (child, *_subclasses(child))]
