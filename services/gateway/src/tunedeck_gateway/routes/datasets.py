"""`/api/datasets`."""

from pathlib import PurePath
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from tunedeck_contracts import rpc
from tunedeck_contracts.datasets import (
    ChangeDataset,
    CountTokens,
    CreateDataset,
    Dataset,
    DatasetChanges,
    DatasetFile,
    DeleteDataset,
    FileFormat,
    GetDataset,
    GetRows,
    ListDatasets,
    LocateFile,
    RefusedUpload,
)
from tunedeck_contracts.errors import ErrorReply
from tunedeck_contracts.ids import checked_id
from tunedeck_contracts.tokens import DEFAULT_MAX_LENGTH
from tunedeck_gateway.bridge import Gateway, answer, documented, gateway_of, respond, taking_in
from tunedeck_gateway.intake import Intake, read_json, validated
from tunedeck_gateway.openapi import error_responses
from tunedeck_gateway.routes.uploads import described_body, is_json
from tunedeck_gateway.uploads import FileUpload

router = APIRouter(prefix="/api/datasets", tags=["Datasets"])
Here = Annotated[Gateway, Depends(gateway_of)]
Uid = Annotated[
    str,
    Path(description="A dataset's `uid` or its `id`.", examples=["dataset_1751023766790_b0zqofldb"]),
]

_CREATE = taking_in(rpc.DATASET_CREATE, 400, 404, 409, 413, 415)
_CREATE["responses"][400]["model"] = RefusedUpload | ErrorReply
_FORM_FIELDS = {
    "name": {"type": "string", "maxLength": 200, "description": "The file's name when absent."},
    "id": {"type": "string", "maxLength": 64, "description": "A slug; made from the name when absent."},
    "description": {"type": "string", "maxLength": 4000, "description": "What is in it."},
    "tags": {"type": "string", "description": "Separated by commas, or several fields of this name."},
}
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_DOWNLOAD: dict[int | str, dict[str, Any]] = {
    200: {"description": "The rows.", "content": {"text/csv": _BYTES, "application/jsonl": _BYTES}},
    304: {"description": "The file is still the one of `If-None-Match`."},
    **error_responses(404, 503),
}


@router.get("", **{**documented(rpc.DATASET_LIST), "response_model": list[Dataset]})
async def list_datasets(gateway: Here) -> Response:
    """Every dataset, newest first."""
    return await answer(gateway, rpc.DATASET_LIST, ListDatasets())


@router.post("", openapi_extra=described_body(CreateDataset, _FORM_FIELDS), **_CREATE)
async def create_dataset(gateway: Here, request: Request) -> Response:
    """Save an upload as a dataset by its `upload_id` (as JSON), or a file that comes with the request."""
    if is_json(request):
        return await answer(gateway, rpc.DATASET_CREATE, await read_json(CreateDataset, request))
    upload = FileUpload(request, gateway.settings.max_upload_bytes)
    intake = Intake(gateway, upload)
    checked = await intake.run()
    if checked.status >= 400:
        return respond(gateway, checked)
    form = {name: text for name, text in upload.form().items() if text}
    fields: dict[str, Any] = {
        "name": form.get("name") or PurePath(upload.filename).stem,
        "tags": [tag.strip() for tag in form.get("tags", "").split(",") if tag.strip()],
        "upload_id": intake.upload_id,
    }
    fields |= {name: form[name] for name in ("id", "description") if name in form}
    return await answer(gateway, rpc.DATASET_CREATE, validated(CreateDataset, fields))


@router.get("/{uid}", **documented(rpc.DATASET_GET, 404))
async def get_dataset(gateway: Here, uid: Uid) -> Response:
    """One dataset."""
    return await answer(gateway, rpc.DATASET_GET, GetDataset(dataset=checked_id("dataset", uid)))


@router.get("/{uid}/rows", **documented(rpc.DATASET_ROWS, 404))
async def list_rows(
    gateway: Here,
    uid: Uid,
    offset: Annotated[int, Query(ge=0, description="Rows before the page.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most rows of the page.")] = 50,
) -> Response:
    """Rows by page, as they are trained on."""
    wanted = GetRows(dataset=checked_id("dataset", uid), offset=offset, limit=limit)
    return await answer(gateway, rpc.DATASET_ROWS, wanted)


@router.get("/{uid}/download", response_class=Response, responses=_DOWNLOAD)
async def download_dataset(
    gateway: Here,
    uid: Uid,
    file_format: Annotated[FileFormat, Query(alias="format", description="csv or jsonl.")] = FileFormat.CSV,
    if_none_match: Annotated[str | None, Header(description="An `ETag` that the client has.")] = None,
) -> Response:
    """The rows as a file, as they are trained on; it can be uploaded again as it is."""
    wanted = LocateFile(dataset=checked_id("dataset", uid), format=file_format)
    file: DatasetFile = await gateway.bus.request(rpc.DATASET_LOCATE, wanted)
    headers = {"ETag": f'"{file.sha256}"', "Content-Disposition": _attachment(file.filename)}
    if if_none_match is not None and headers["ETag"] in if_none_match:
        return Response(status_code=304, headers=headers)
    # A body that has begun can say no more that there is none.
    await gateway.blobs.stat(file.blob_id)
    headers["Content-Length"] = str(file.size)
    return StreamingResponse(gateway.blobs.read(file.blob_id), media_type=file.media_type, headers=headers)


@router.get("/{uid}/tokens", **documented(rpc.DATASET_TOKENS, 404, 409))
async def count_tokens(
    gateway: Here,
    uid: Uid,
    model: Annotated[str, Query(min_length=1, max_length=200, description="Whose `tokenizer.json` counts.")],
    max_length: Annotated[
        int, Query(ge=1, le=10_000_000, description="Count the rows that are longer.")
    ] = DEFAULT_MAX_LENGTH,
) -> Response:
    """Token lengths of the rows: mean, percentiles, histogram, and how many are over `max_length`."""
    wanted = CountTokens(dataset=checked_id("dataset", uid), model=model, max_length=max_length)
    return await answer(gateway, rpc.DATASET_TOKENS, wanted)


@router.patch("/{uid}", **documented(rpc.DATASET_CHANGE, 404))
async def change_dataset(gateway: Here, uid: Uid, changes: DatasetChanges) -> Response:
    """Rename or retag; what is absent or null stays."""
    wanted = ChangeDataset(dataset=checked_id("dataset", uid), **changes.model_dump())
    return await answer(gateway, rpc.DATASET_CHANGE, wanted)


@router.delete("/{uid}", **documented(rpc.DATASET_DELETE, 404, 409))
async def delete_dataset(gateway: Here, uid: Uid) -> Response:
    """Remove a dataset with its files; refused while a job that has not ended needs it."""
    return await answer(gateway, rpc.DATASET_DELETE, DeleteDataset(dataset=checked_id("dataset", uid)))


def _attachment(filename: str) -> str:
    """`Content-Disposition` by RFC 6266: the name in UTF-8, and in ASCII for old clients."""
    plain = "".join(letter if letter.isalnum() or letter in " .-_" else "_" for letter in filename)
    ascii_name = plain.encode("ascii", "replace").decode().replace("?", "_")
    return f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(filename, safe='')}"
