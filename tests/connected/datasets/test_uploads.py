"""The catalog's uploads and datasets over a real NATS and a real MongoDB."""

import asyncio
import hashlib
import json
import threading
from typing import Any

import pytest

from tests.support.catalog_service import RunningCatalog, unique_csv
from tunedeck_catalog.file_check import FileCheck
from tunedeck_contracts import rpc
from tunedeck_contracts.datasets import (
    CheckStoredUpload,
    CreateDataset,
    ListDatasets,
    RefusedUpload,
    ResolveDataset,
)
from tunedeck_contracts.errors import Conflict, NotFound, ValidationFailed
from tunedeck_contracts.health import CheckHealth

pytestmark = pytest.mark.connected


async def test_preview_then_dataset_then_what_a_job_pins(running: RunningCatalog) -> None:
    data = unique_csv(7) + b"no answer,\n"
    preview = await running.preview(data)
    assert preview.columns == ["input", "output"]
    assert preview.statistics.model_dump() == {
        "total_rows": 8,
        "total_columns": 2,
        "file_size_kb": round(len(data) / 1024, 1),
        "preview_rows": 5,
        "has_required_columns": True,
    }
    assert preview.validation_errors == ["Row 9: 'output' is empty; the row is left out of training."]
    dataset = await running.bus.request(
        rpc.DATASET_CREATE, CreateDataset(upload_id=preview.upload_id, name="My Data", tags=["t"])
    )
    assert (dataset.id, dataset.rows, dataset.validation.is_valid) == ("my-data", 7, True)
    for reference in (dataset.uid, dataset.id, preview.upload_id):
        resolved = await running.bus.request(rpc.DATASET_RESOLVE, ResolveDataset(reference=reference))
        assert resolved.uid == dataset.uid
    pieces = [piece async for piece in running.catalog.blobs.read(resolved.rows_blob)]
    rows = [json.loads(line) for line in b"".join(pieces).splitlines()]
    assert len(rows) == resolved.rows == 7
    assert rows[6]["output"] == "answer 6"
    assert resolved.rows_sha256 == hashlib.sha256(b"".join(pieces)).hexdigest()
    await running.catalog.blobs.sweep()
    assert (await running.catalog.blobs.stat(resolved.rows_blob)).sha256 == resolved.rows_sha256


async def test_the_same_bytes_are_no_new_upload(running: RunningCatalog) -> None:
    data = unique_csv()
    first, second = await running.preview(data), await running.preview(data)
    assert (first.is_new_upload, second.is_new_upload) == (True, False)
    assert first.upload_id != second.upload_id


async def test_a_refused_upload_can_have_its_columns_mapped(running: RunningCatalog) -> None:
    refused = await running.refused(b"question,answer\n1,a\n2,b\n3,c\n4,d\n")
    assert refused.detail == "Failed to parse CSV file: Missing required 'input' and 'output' columns"
    assert refused.columns == ["question", "answer"]
    assert len(refused.data) == 3
    preview = await running.bus.request(
        rpc.UPLOAD_RECHECK,
        CheckStoredUpload(upload_id=refused.upload_id, input_column="question", output_column="answer"),
    )
    assert preview.upload_id == refused.upload_id
    resolved = await running.bus.request(rpc.DATASET_RESOLVE, ResolveDataset(reference=refused.upload_id))
    assert resolved.rows == 4


@pytest.mark.parametrize("slip", [{"input_column": "quesiton"}, {"model": "local/none"}])
async def test_a_second_look_that_is_refused_spoils_no_upload(
    running: RunningCatalog, slip: dict[str, str]
) -> None:
    preview = await running.preview(unique_csv())
    look = CheckStoredUpload(upload_id=preview.upload_id, **{"output_column": "input", **slip})
    assert (await running.bus.forward(rpc.UPLOAD_RECHECK, look.to_json())).status in (400, 404)
    resolved = await running.bus.request(rpc.DATASET_RESOLVE, ResolveDataset(reference=preview.upload_id))
    rows = [json.loads(line) for line in (await running.content(resolved.rows_blob)).splitlines()]
    assert rows[0]["output"] == "answer 0"


async def test_what_is_no_csv_is_refused_and_saved_by_nobody(running: RunningCatalog) -> None:
    refused = await running.refused(b"input,output\n\xff\xfe,x\n")
    assert "is not UTF-8" in refused.detail
    message = CreateDataset(upload_id=refused.upload_id, name="Broken")
    before = await running.catalog.client["tunedeck_blobs"]["fs.files"].count_documents({})
    reply = await running.bus.forward(rpc.DATASET_CREATE, message.to_json())
    assert reply.status == 400
    assert RefusedUpload.model_validate_json(reply.body).upload_id == refused.upload_id
    assert await running.catalog.client["tunedeck_blobs"]["fs.files"].count_documents({}) == before


async def test_a_reference_to_an_upload_saves_it_once_however_many_ask(running: RunningCatalog) -> None:
    preview = await running.preview(unique_csv(), "Support questions.csv")
    asked = [
        running.bus.request(rpc.DATASET_RESOLVE, ResolveDataset(reference=preview.upload_id))
        for _ in range(6)
    ]
    assert len({resolved.uid for resolved in await asyncio.gather(*asked)}) == 1
    datasets = await running.listed(rpc.DATASET_LIST, ListDatasets())
    assert [(dataset["id"], dataset["name"]) for dataset in datasets] == [
        ("support-questions", "Support questions")
    ]


async def test_ids_are_unique(running: RunningCatalog) -> None:
    preview = await running.preview(unique_csv())

    async def create(**given: str) -> str:
        message = CreateDataset(upload_id=preview.upload_id, name="Same name", **given)
        return (await running.bus.request(rpc.DATASET_CREATE, message)).id

    assert [await create(), await create(), await create(id="mine")] == ["same-name", "same-name-2", "mine"]
    with pytest.raises(Conflict, match="'mine' already exists"):
        await create(id="mine")
    with pytest.raises(ValidationFailed):
        await create(id="no/slug")


async def test_unknown_uploads_and_datasets(running: RunningCatalog) -> None:
    with pytest.raises(NotFound, match="24 hours"):
        await running.bus.request(rpc.DATASET_CREATE, CreateDataset(upload_id="upload_1", name="x"))
    with pytest.raises(NotFound, match="preview-csv"):
        await running.bus.request(rpc.DATASET_RESOLVE, ResolveDataset(reference="test-dataset"))


async def test_requests_are_answered_while_a_large_file_is_checked(
    running: RunningCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_checking, is_answered = threading.Event(), threading.Event()
    waited: list[bool] = []
    feed = FileCheck.feed

    def feed_once_answered(check: FileCheck, piece: bytes) -> Any:
        is_checking.set()
        waited.append(is_answered.wait(20))
        return feed(check, piece)

    monkeypatch.setattr(FileCheck, "feed", feed_once_answered)
    message = await running.blob(b"input,output\n" + b'"a, long enough question","an answer"\n' * 300_000)
    check = asyncio.create_task(running.bus.request(rpc.UPLOAD_CHECK, message))
    assert await asyncio.to_thread(is_checking.wait, 20)
    await running.listed(rpc.DATASET_LIST, ListDatasets())
    is_answered.set()
    preview = await check
    assert preview.statistics.total_rows == 300_000
    assert preview.validation_errors[-1].startswith("... and 299,899 more")
    assert all(waited)


async def test_health_names_the_versions(running: RunningCatalog) -> None:
    health = await running.bus.request(rpc.health_check("catalog"), CheckHealth())
    assert health.status == "healthy"
    assert "pandas" in health.packages
