"""`/api/preview-csv`, and the bodies of requests that bring a file."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from tunedeck_contracts import rpc
from tunedeck_contracts.datasets import CheckStoredUpload, CheckUpload, RefusedUpload
from tunedeck_contracts.errors import ErrorReply
from tunedeck_contracts.message import Message
from tunedeck_gateway.bridge import Gateway, answer, gateway_of, respond, taking_in
from tunedeck_gateway.intake import Intake, read_json
from tunedeck_gateway.uploads import FileUpload

router = APIRouter(tags=["Datasets"])
Here = Annotated[Gateway, Depends(gateway_of)]

_OWN_FIELDS = ("upload_id", "filename", "blob_id")
_FILE = {"type": "string", "format": "binary", "description": "CSV or JSON Lines, at most 52,428,800 bytes."}


def is_json(request: Request) -> bool:
    """Whether the body is JSON, and not a form with a file."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def described_body(json_message: type[Message], more_fields: dict[str, Any] | None = None) -> dict[str, Any]:
    """`openapi_extra` of a route that takes a file in a form, or JSON about an upload that is kept."""
    form = {
        name: field for name, field in _schema(CheckUpload)["properties"].items() if name not in _OWN_FIELDS
    }
    multipart = {
        "type": "object",
        "required": ["file"],
        "properties": {"file": _FILE, **form, **(more_fields or {})},
    }
    content = {"multipart/form-data": multipart, "application/json": _schema(json_message)}
    body = {"required": True, "content": {kind: {"schema": schema} for kind, schema in content.items()}}
    return {"requestBody": body}


def _schema(message: type[Message]) -> dict[str, Any]:
    schema = message.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    return schema


_PREVIEW = taking_in(rpc.UPLOAD_CHECK, 400, 404, 413, 415)
_PREVIEW["responses"][400]["model"] = RefusedUpload | ErrorReply


@router.post("/api/preview-csv", openapi_extra=described_body(CheckStoredUpload), **_PREVIEW)
async def preview_csv(gateway: Here, request: Request) -> Response:
    """Check a whole file and keep it for 24 hours, or (as JSON) read one that was kept in another way."""
    if is_json(request):
        return await answer(gateway, rpc.UPLOAD_RECHECK, await read_json(CheckStoredUpload, request))
    intake = Intake(gateway, FileUpload(request, gateway.settings.max_upload_bytes))
    return respond(gateway, await intake.run())
