"""Answers out of the blob store: files, and what is too large for the bus."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Response

from tunedeck_chassis.blobs import BlobStore, new_blob_id
from tunedeck_chassis.bus import RawReply
from tunedeck_contracts import rpc
from tunedeck_contracts.datasets import DatasetFile
from tunedeck_contracts.errors import NotFound
from tunedeck_contracts.message import Message
from tunedeck_contracts.model_saving import ArtifactLocation
from tunedeck_gateway import errors
from tunedeck_gateway.bridge import Gateway, respond
from tunedeck_gateway.routes import datasets, jobs

GONE = new_blob_id()
KNOWN: dict[Any, Message] = {
    rpc.ARTIFACT_LOCATE.subject: ArtifactLocation(path="model.bin", size=3, sha256="0", blob_id=GONE),
    rpc.DATASET_LOCATE.subject: DatasetFile(
        filename="rows.csv", media_type="text/csv", blob_id=GONE, sha256="0", size=3
    ),
}


class OwnersOfWhatIsGone:
    """The services that own files, which were removed since they last looked."""

    async def request(self, asked: rpc.Rpc[Any, Any], _: Message) -> Message:
        return KNOWN[asked.subject]


def client_of(blobs: BlobStore, app: FastAPI) -> httpx.AsyncClient:
    bus: Any = OwnersOfWhatIsGone()
    nothing: Any = None
    app.state.gateway = Gateway(nothing, bus, blobs, nothing, nothing, nothing, nothing)
    errors.install(app)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


async def test_a_large_answer_that_was_read_is_gone(blobs: BlobStore) -> None:
    body = b"[" + b"1, " * 2_000_000 + b"1]"

    async def once() -> AsyncIterator[bytes]:
        yield body

    blob = await blobs.put(once(), filename="reply.json")
    app = FastAPI()

    @app.get("/")
    async def large() -> Response:
        return respond(app.state.gateway, RawReply(body=b"", status=200, blob_id=blob.id))

    async with client_of(blobs, app) as http:
        answer = await http.get("/")
    assert answer.content == body
    with pytest.raises(NotFound):
        await blobs.stat(blob.id)


@pytest.mark.parametrize("path", ["/api/jobs/job_1/artifacts/model.bin", "/api/datasets/dataset_1/download"])
async def test_a_file_that_is_gone_is_not_found_before_the_answer_begins(blobs: BlobStore, path: str) -> None:
    app = FastAPI()
    for router in (jobs.router, datasets.router):
        app.include_router(router)
    async with client_of(blobs, app) as http:
        answer = await http.get(path)
    assert (answer.status_code, answer.json()["error_type"]) == (404, "NotFound")
