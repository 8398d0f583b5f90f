"""What the OpenAPI documents say beyond what FastAPI reads from the routes.

Errors in their one form, the key, headers, the live stream in words, and from `operations/` examples (the
interface's own) and links.
"""

import json
from functools import cache
from importlib import resources
from typing import Any

from fastapi import FastAPI

from tunedeck_contracts.errors import (
    BadRequest,
    Conflict,
    ErrorReply,
    FieldProblem,
    Forbidden,
    InsufficientStorage,
    NotFound,
    PayloadTooLarge,
    TooManyRequests,
    TunedeckError,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
    ValidationFailed,
)
from tunedeck_gateway.access.keys import Scope
from tunedeck_gateway.access.limits import RATE_LIMIT_HEADERS
from tunedeck_gateway.access.rules import is_public, needed_scope

Document = dict[str, Any]

ABOUT = """Every error is an `ErrorReply`: a sentence in `detail`, its `status_code`, its `error_type`.
Times are UTC in ISO 8601 with milliseconds and a Z.

**Live stream.** `WS /ws/training/{job_id}` sends one JSON object for each point of a job: from history,
then as it is trained. Without a query every frame has `job_id`, `timestamp`, `training_mode`,
`is_completed`, `training` (a `LossPoint`), `resources` (a `ResourceSample`), `iteration` and `total`; the
last one has `is_completed: true`, and the server closes with 1000. A job that does not exist is closed
with 4404. With `?v=1&after=<seq>` the stream goes on after the point with that `seq`, and also sends the
job's status, log lines and heartbeats, told apart by `type`. Where keys are asked for, the stream takes
one in the header or, from a browser, `?ticket=` of `POST /api/ws-ticket`; it is closed with 4401 without
one, 4403 for a page that may not, 4429 over the limit, 1008 when the key ends, and 1013 when to come again.
"""
TAGS = [
    {"name": "Health", "description": "Whether it runs, and what is away."},
    {"name": "Models", "description": "The collection of base models, and the Hugging Face Hub's."},
    {"name": "Datasets", "description": "Files that are checked, and datasets that are kept."},
    {"name": "Hyperparameters", "description": "Saved settings, and the best so far."},
    {"name": "Workflow", "description": "What a person has selected so far."},
    {"name": "Jobs", "description": "Fine-tuning jobs, from their creation to their files."},
    {"name": "Training", "description": "Losses, hardware and progress; these answer on both ports."},
    {"name": "Access", "description": "API keys, and tickets for the live stream."},
]

_ERRORS: dict[int, TunedeckError] = {
    400: BadRequest("Failed to parse CSV file: Missing required 'input' column"),
    401: Unauthorized("This needs an API key: send `Authorization: Bearer <key>`."),
    403: Forbidden("Pages of 'http://example.org' may not do this: add the origin to TUNEDECK_CORS_ORIGINS."),
    404: NotFound("There is no job 'job_1751559451590_15c0ef2a'."),
    409: Conflict("Model 'gpt2' already exists in your collection"),
    413: PayloadTooLarge("File size exceeds maximum allowed size of 52428800 bytes"),
    415: UnsupportedMediaType("The body is neither multipart/form-data nor JSON."),
    422: ValidationFailed(
        "The request is not valid: query.limit: Input should be greater than or equal to 1.",
        [FieldProblem(loc="query.limit", message="Input should be greater than or equal to 1")],
    ),
    429: TooManyRequests("More than 1000 requests in one hour; come again in 58 s."),
    503: Unavailable("Training data not available"),
    507: InsufficientStorage("There is no room to keep the file."),
}
_REASONS = {
    400: "The body cannot be read, or what it carries cannot be used.",
    401: "No key, or one that is unknown, expired or revoked; only where keys are asked for.",
    403: "The key's scope does not allow this, or the page or the host's name may not.",
    404: "It does not exist.",
    409: "The state of things does not allow it now.",
    413: "The file or the body is larger than the limit; the rest of it is not read.",
    415: "A body of a kind that is not taken.",
    422: "The request does not have the documented shape; `errors` lists every field.",
    429: "More requests than the limit; only where limits are on.",
    503: "What the answer needs is away, or has no data yet; come again after `Retry-After` seconds.",
    507: "There is no room to keep what was sent.",
}
_HEADERS: Document = {
    "X-Correlation-Id": {
        "description": "Names the request in every service's log.",
        "schema": {"type": "string"},
    },
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}},
    **{
        name: {"description": text, "schema": {"type": "integer", "minimum": 0}}
        for name, text in zip(
            RATE_LIMIT_HEADERS,
            ("Requests in the window.", "Requests that are left.", "Seconds to the next window."),
            strict=True,
        )
    },
}
_HEADERS_OF = {"429": ("Retry-After", *RATE_LIMIT_HEADERS), "503": ("Retry-After",)}
_FREE = {"type", "title", "description", "examples"}


def error_responses(*statuses: int) -> dict[int | str, Document]:
    """The `responses` of a route for the errors it can give."""
    return {status: {"model": ErrorReply, **_error(status)} for status in statuses}


def complete(app: FastAPI) -> None:
    """Finish the application's document, once it has all its routes."""
    document = app.openapi()
    used = {tag for methods in document["paths"].values() for one in methods.values() for tag in one["tags"]}
    document["tags"] = [tag for tag in TAGS if tag["name"] in used]
    components = document["components"]
    schemas = components["schemas"]
    for made_by_framework in ("HTTPValidationError", "ValidationError"):
        schemas.pop(made_by_framework, None)
    components["headers"] = _HEADERS
    components["securitySchemes"] = {
        "ApiKey": {
            "type": "http",
            "scheme": "bearer",
            "description": "A key made by `tunedeck keys create`, with the scope that the operation names: "
            "read, write or admin. Not asked for on loopback by default.",
        }
    }
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            scope = None if is_public(path) else needed_scope(method.upper(), path)
            _complete(operation, scope)


def _complete(operation: Document, scope: Scope | None) -> None:
    responses = operation["responses"]
    if "HTTPValidationError" in json.dumps(responses.get("422", {})):
        del responses["422"]
    if _can_be_invalid(operation):
        responses.setdefault("422", _with_schema(_error(422)))
    if "requestBody" in operation:
        for status in (400, 413):
            responses.setdefault(str(status), _with_schema(_error(status)))
    if any(parameter["in"] == "path" for parameter in operation.get("parameters", [])):
        responses.setdefault("404", _with_schema(_error(404)))
    responses["403"] = _with_schema(_error(403))
    if scope is not None:
        operation["security"] = [{"ApiKey": [scope.value]}, {}]
        for status in (401, 429):
            responses[str(status)] = _with_schema(_error(status))
    _describe(operation, described().get(operation["operationId"], {}))
    for status, response in responses.items():
        for name in ("X-Correlation-Id", *_HEADERS_OF.get(status, ())):
            response.setdefault("headers", {})[name] = {"$ref": f"#/components/headers/{name}"}
    operation["responses"] = dict(sorted(responses.items()))


def _describe(operation: Document, said: Document) -> None:
    """Put examples and links where they belong."""
    for parameter in operation.get("parameters", []):
        if parameter["name"] in said.get("parameters", {}):
            parameter["example"] = said["parameters"][parameter["name"]]
    for media_type, example in said.get("request", {}).items():
        operation["requestBody"]["content"][media_type]["example"] = example
    success = min(operation["responses"])
    for media_type, content in operation["responses"][success].get("content", {}).items():
        if media_type in said.get("response", {}):
            content["example"] = said["response"][media_type]
    if "links" in said:
        operation["responses"][success]["links"] = said["links"]
    for status, example in said.get("errors", {}).items():
        operation["responses"][status]["content"]["application/json"]["example"] = example


def _error(status: int) -> Document:
    example = json.loads(_ERRORS[status].reply().to_json())
    return {"description": _REASONS[status], "content": {"application/json": {"example": example}}}


def _with_schema(response: Document) -> Document:
    response["content"]["application/json"]["schema"] = {"$ref": "#/components/schemas/ErrorReply"}
    return response


def _can_be_invalid(operation: Document) -> bool:
    """Whether the framework can refuse the request: any text is a valid one where nothing more is said."""
    parameters = operation.get("parameters", [])
    return "requestBody" in operation or not all(_takes_any_text(one["schema"]) for one in parameters)


def _takes_any_text(schema: Document) -> bool:
    if "anyOf" in schema:
        return all(_takes_any_text(one) for one in schema["anyOf"])
    return schema.get("type") in ("string", "null") and not set(schema) - _FREE


@cache
def described() -> dict[str, Document]:
    """What `operations/*.json` say, by operationId."""
    found: dict[str, Document] = {}
    for file in (resources.files("tunedeck_gateway") / "operations").iterdir():
        found |= json.loads(file.read_text())
    return found
