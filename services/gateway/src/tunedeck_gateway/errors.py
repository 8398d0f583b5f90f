"""Every error of the gateway itself in the form of `ErrorReply`, the framework's included."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pymongo.errors import PyMongoError
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from tunedeck_chassis.failures import as_tunedeck_error
from tunedeck_contracts.errors import (
    ErrorReply,
    FieldProblem,
    InternalError,
    TunedeckError,
    ValidationFailed,
)
from tunedeck_gateway.bridge import error_response

log = structlog.get_logger()

_NAMES = {error.status_code: error.__name__ for error in TunedeckError.__subclasses__()}


async def _tunedeck_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, TunedeckError)
    return error_response(error.reply())


async def _database_error(_: Request, error: Exception) -> Response:
    told = as_tunedeck_error(error)
    log.error("database_failed", told=told.detail, exc_info=error)
    return error_response(told.reply())


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = [_problem(found) for found in error.errors()]
    if problems[0].loc == "body" and not _says_json(request):
        sentence = "send the body as JSON, with the header Content-Type: application/json"
        problems = [FieldProblem(loc="body", message=sentence)]
    sentence = "; ".join(f"{problem.loc}: {problem.message}" for problem in problems[:3])
    more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
    return error_response(ValidationFailed(f"The request is not valid: {sentence}{more}.", problems).reply())


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = str(error.detail)
    if error.status_code == 404 and detail == "Not Found":
        detail = f"There is nothing at {request.url.path}; /docs lists what there is."
    if detail == "There was an error parsing the body":
        # FastAPI's words for what is no text at all.
        detail = (
            "The body cannot be read: send JSON in UTF-8, with the header Content-Type: application/json."
        )
    if error.status_code == 405:
        detail = f"{request.method} is not taken at {request.url.path}; /docs lists what is."
    name = _NAMES.get(error.status_code) or HTTPStatus(error.status_code).phrase.title().replace(" ", "")
    answer = error_response(ErrorReply(detail=detail, status_code=error.status_code, error_type=name))
    answer.headers.update(error.headers or {})
    if error.status_code == 405:
        answer.headers["Allow"] = ", ".join(sorted(_methods(request)))
    return answer


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("request_failed", path=request.url.path, exc_info=error)
    reply = InternalError("An internal error; the gateway's log has it under the correlation id.").reply()
    return error_response(reply)


def _problem(found: Mapping[str, Any]) -> FieldProblem:
    if found["type"] == "json_invalid" and "ctx" in found:
        # FastAPI gives the place as the last part of the path.
        return FieldProblem(
            loc="body", message=f"no JSON from character {found['loc'][-1]} on: {found['ctx']['error']}"
        )
    return FieldProblem(loc=_path(found["loc"]), message=str(found["msg"]))


def _path(loc: Sequence[int | str]) -> str:
    """A field of the body is named as the client wrote it, a parameter with where it stands."""
    inner = loc[1:] if loc[0] == "body" and len(loc) > 1 else loc
    return ".".join(map(str, inner))


def _methods(request: Request) -> set[str]:
    """What the resource at the request's path takes; the framework names its first route's methods alone."""
    routes = [route for route in iter_route_contexts(request.app.routes) if route.path is not None]
    path = request.scope["path"]
    here = next((route.path for route in routes if compile_path(str(route.path))[0].match(path)), None)
    if here is None:
        # A file of the documentation's page, which no route of ours serves.
        return {"GET", "HEAD"}
    return {method for route in routes if route.path == here for method in route.methods or ()}


def _says_json(request: Request) -> bool:
    return "json" in request.headers.get("content-type", "").lower()


def install(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(TunedeckError, _tunedeck_error)
    app.add_exception_handler(PyMongoError, _database_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)
