"""`/api/preview-csv` and `/api/datasets`."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from tunedeck_chassis.blobs import Blob
from tunedeck_contracts import rpc
from tunedeck_contracts.datasets import (
    CheckStoredUpload,
    CheckUpload,
    CreateDataset,
    Dataset,
    ListDatasets,
    RefusedUpload,
)
from tunedeck_gateway.bridge import Gateway, answer, documented, gateway_of
from tunedeck_gateway.uploads import FileUpload

router = APIRouter(tags=["Datasets"])
Here = Annotated[Gateway, Depends(gateway_of)]

UPLOAD_LIFETIME = timedelta(hours=24)

_PREVIEW = documented(rpc.UPLOAD_CHECK, 413, 415)
_PREVIEW["responses"][400] = {"model": RefusedUpload, "description": "The file cannot become a dataset."}
_PREVIEW_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "input_column": {"type": "string", "default": "input"},
                        "output_column": {"type": "string", "default": "output"},
                    },
                }
            },
            "application/json": {"schema": CheckStoredUpload.model_json_schema()},
        },
    }
}


@router.post("/api/preview-csv", openapi_extra=_PREVIEW_BODY, **_PREVIEW)
async def preview_csv(gateway: Here, request: Request) -> Response:
    """Check a whole CSV and keep it for 24 hours, or map the columns of one that was kept (as JSON)."""
    if request.headers.get("content-type", "").startswith("application/json"):
        return await answer(gateway, rpc.UPLOAD_RECHECK, await _stored_upload(request))
    upload = FileUpload(request, gateway.settings.max_upload_bytes)
    blob: Blob = await gateway.blobs.put(upload.chunks(), filename="upload", keep_for=UPLOAD_LIFETIME)
    check = CheckUpload(
        filename=upload.filename,
        blob_id=blob.id,
        sha256=blob.sha256,
        size=blob.size,
        input_column=upload.text("input_column", "input"),
        output_column=upload.text("output_column", "output"),
    )
    return await answer(gateway, rpc.UPLOAD_CHECK, check)


@router.get("/api/datasets", **{**documented(rpc.DATASET_LIST), "response_model": list[Dataset]})
async def list_datasets(gateway: Here) -> Response:
    """Every dataset, newest first."""
    return await answer(gateway, rpc.DATASET_LIST, ListDatasets())


@router.post("/api/datasets", **documented(rpc.DATASET_CREATE, 400, 404, 409))
async def create(gateway: Here, dataset: CreateDataset) -> Response:
    """Save an upload as a dataset, without sending it again."""
    return await answer(gateway, rpc.DATASET_CREATE, dataset)


async def _stored_upload(request: Request) -> CheckStoredUpload:
    try:
        return CheckStoredUpload.model_validate_json(await request.body())
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None
