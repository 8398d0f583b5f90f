"""Every error of the gateway itself in the form of `ErrorReply`, the framework's included."""

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from tunedeck_contracts.errors import (
    ErrorReply,
    FieldProblem,
    InternalError,
    TunedeckError,
    ValidationFailed,
)
from tunedeck_gateway.bridge import error_response

log = structlog.get_logger()


async def _tunedeck_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, TunedeckError)
    return error_response(error.reply())


async def _validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = [
        FieldProblem(loc=".".join(map(str, found["loc"])), message=str(found["msg"]))
        for found in error.errors()
    ]
    sentence = "; ".join(f"{problem.loc}: {problem.message}" for problem in problems[:3])
    more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
    return error_response(ValidationFailed(f"The request is not valid: {sentence}{more}.", problems).reply())


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = str(error.detail)
    if error.status_code == 404 and detail == "Not Found":
        detail = f"There is nothing at {request.url.path}; /docs lists what there is."
    name = {404: "NotFound", 405: "MethodNotAllowed"}.get(error.status_code, "HTTPError")
    return error_response(ErrorReply(detail=detail, status_code=error.status_code, error_type=name))


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("request_failed", path=request.url.path, exc_info=error)
    reply = InternalError("An internal error; the gateway's log has it under the correlation id.").reply()
    return error_response(reply)


def install(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(TunedeckError, _tunedeck_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)
