"""The catalog's uploads and datasets over a real NATS and a real MongoDB."""

import asyncio
import hashlib
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tunedeck_catalog.app import Catalog
from tunedeck_catalog.settings import CatalogSettings
from tunedeck_chassis.bus import Bus
from tunedeck_chassis.provisioning import provision
from tunedeck_chassis.service import started
from tunedeck_contracts import rpc
from tunedeck_contracts.datasets import (
    CheckStoredUpload,
    CheckUpload,
    CreateDataset,
    CsvPreview,
    ListDatasets,
    RefusedUpload,
    ResolveDataset,
)
from tunedeck_contracts.errors import Conflict, NotFound, ValidationFailed
from tunedeck_contracts.health import CheckHealth
from tunedeck_contracts.message import Message
from tunedeck_contracts.rpc import Rpc

pytestmark = pytest.mark.connected


@dataclass(frozen=True)
class Running:
    """The service at work, and a client of it."""

    catalog: Catalog
    bus: Bus

    async def blob(self, data: bytes, name: str = "my data.csv") -> CheckUpload:
        async def once() -> AsyncIterator[bytes]:
            yield data

        blob = await self.catalog.blobs.put(once(), filename=name)
        return CheckUpload(filename=name, blob_id=blob.id, sha256=blob.sha256, size=blob.size)

    async def preview(self, data: bytes, name: str = "my data.csv") -> CsvPreview:
        return await self.bus.request(rpc.UPLOAD_CHECK, await self.blob(data, name))

    async def listed(self, request: Rpc[Any, Any], message: Message) -> list[dict[str, Any]]:
        """An answer that is a bare list, as the gateway passes it on."""
        reply = await self.bus.forward(request, message.to_json())
        assert reply.status == 200
        listed: list[dict[str, Any]] = json.loads(reply.body)
        return listed

    async def refused(self, data: bytes) -> RefusedUpload:
        message = await self.blob(data)
        reply = await self.bus.forward(rpc.UPLOAD_CHECK, message.to_json())
        assert reply.status == 400
        return RefusedUpload.model_validate_json(reply.body)


@pytest.fixture
async def running(nats_url: str, mongo_url: str, tmp_path: Path) -> AsyncIterator[Running]:
    settings = CatalogSettings(
        nats_url=nats_url,
        mongo_url=mongo_url,
        catalog_database=f"catalog_{uuid.uuid4().hex[:8]}",
        models_dir=tmp_path / "models",
    )
    await provision(nats_url)
    catalog = Catalog(settings)
    async with started(catalog.broker, catalog.prepare):
        yield Running(catalog, Bus(catalog.broker))
    await catalog.client.drop_database(settings.catalog_database)
    await catalog.close()


def unique_csv(rows: int = 3) -> bytes:
    """A file that was never seen before."""
    mark = uuid.uuid4().hex
    return b"input,output\n" + b"".join(f"{mark} {n},answer {n}\n".encode() for n in range(rows))


async def test_preview_then_dataset_then_what_a_job_pins(running: Running) -> None:
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


async def test_the_same_bytes_are_no_new_upload(running: Running) -> None:
    data = unique_csv()
    first, second = await running.preview(data), await running.preview(data)
    assert (first.is_new_upload, second.is_new_upload) == (True, False)
    assert first.upload_id != second.upload_id


async def test_a_refused_upload_can_have_its_columns_mapped(running: Running) -> None:
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


async def test_what_is_no_csv_is_refused_and_saved_by_nobody(running: Running) -> None:
    refused = await running.refused(b"input,output\n\xff\xfe,x\n")
    assert "is not UTF-8" in refused.detail
    message = CreateDataset(upload_id=refused.upload_id, name="Broken")
    before = await running.catalog.client["tunedeck_blobs"]["fs.files"].count_documents({})
    reply = await running.bus.forward(rpc.DATASET_CREATE, message.to_json())
    assert reply.status == 400
    assert RefusedUpload.model_validate_json(reply.body).upload_id == refused.upload_id
    assert await running.catalog.client["tunedeck_blobs"]["fs.files"].count_documents({}) == before


async def test_a_reference_to_an_upload_saves_it_once_however_many_ask(running: Running) -> None:
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


async def test_ids_are_unique(running: Running) -> None:
    preview = await running.preview(unique_csv())

    async def create(**given: str) -> str:
        message = CreateDataset(upload_id=preview.upload_id, name="Same name", **given)
        return (await running.bus.request(rpc.DATASET_CREATE, message)).id

    assert [await create(), await create(), await create(id="mine")] == ["same-name", "same-name-2", "mine"]
    with pytest.raises(Conflict, match="'mine' already exists"):
        await create(id="mine")
    with pytest.raises(ValidationFailed):
        await create(id="no/slug")


async def test_unknown_uploads_and_datasets(running: Running) -> None:
    with pytest.raises(NotFound, match="24 hours"):
        await running.bus.request(rpc.DATASET_CREATE, CreateDataset(upload_id="upload_1", name="x"))
    with pytest.raises(NotFound, match="preview-csv"):
        await running.bus.request(rpc.DATASET_RESOLVE, ResolveDataset(reference="test-dataset"))


async def test_requests_are_answered_while_a_large_file_is_checked(running: Running) -> None:
    message = await running.blob(b"input,output\n" + b'"a, long enough question","an answer"\n' * 300_000)
    check = asyncio.create_task(running.bus.request(rpc.UPLOAD_CHECK, message))
    answers = 0
    while not check.done():
        await running.listed(rpc.DATASET_LIST, ListDatasets())
        answers += 1
    preview = await check
    assert preview.statistics.total_rows == 300_000
    assert preview.validation_errors[-1].startswith("... and 299,899 more")
    assert answers > 3


async def test_health_names_the_versions(running: Running) -> None:
    health = await running.bus.request(rpc.health_check("catalog"), CheckHealth())
    assert health.status == "healthy"
    assert "pandas" in health.packages
