"""The catalog service over a real NATS and a real MongoDB, with a small server in the Hub's place."""

import asyncio
import hashlib
import json
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tunedeck_catalog.app import Catalog
from tunedeck_catalog.hub import Hub
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
from tunedeck_contracts.errors import Conflict, NotFound, Unavailable, ValidationFailed
from tunedeck_contracts.health import CheckHealth
from tunedeck_contracts.message import Message
from tunedeck_contracts.models import AddModel, ListModels, ResolveModel, SearchModels
from tunedeck_contracts.rpc import Rpc

pytestmark = pytest.mark.connected

HUB_MODEL = {
    "id": "someone/tiny-llama",
    "sha": "0123456789abcdef0123456789abcdef01234567",
    "downloads": 50,
    "likes": 3,
    "gated": False,
    "pipeline_tag": "text-generation",
    "library_name": "transformers",
    "tags": ["transformers", "license:mit"],
    "safetensors": {"parameters": {"F32": 4_000_000}, "total": 4_000_000},
    "siblings": [{"rfilename": "model.safetensors", "size": 16_000_000}],
}
PICKLED = {**HUB_MODEL, "id": "someone/pickled", "siblings": [{"rfilename": "pytorch_model.bin"}]}


class HubHandler(BaseHTTPRequestHandler):
    """The two addresses of the Hub's API that the catalog asks."""

    searches = 0

    def do_GET(self) -> None:
        models = {f"/api/models/{model['id']}": model for model in (HUB_MODEL, PICKLED)}
        path = self.path.partition("?")[0]
        if path == "/api/models":
            HubHandler.searches += 1
            self._answer(200, [HUB_MODEL])
        elif path in models:
            self._answer(200, models[path])
        else:
            self._answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def hub_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), HubHandler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


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
async def running(nats_url: str, mongo_url: str, hub_url: str, tmp_path: Path) -> AsyncIterator[Running]:
    settings = CatalogSettings(
        nats_url=nats_url,
        mongo_url=mongo_url,
        catalog_database=f"catalog_{uuid.uuid4().hex[:8]}",
        models_dir=tmp_path / "models",
    )
    await provision(nats_url)
    catalog = Catalog(settings, hub=Hub(hub_url))
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


async def test_a_new_installation_has_models_and_they_are_seeded_once(running: Running) -> None:
    collection = await running.bus.request(rpc.MODEL_LIST, ListModels())
    assert collection.models[0].id == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert collection.categories[0] == "All Models"
    assert collection.providers[0] == "All Providers"
    models = running.catalog.client[running.catalog.settings.catalog_database]["models"]
    await models.delete_one({"_id": "openai-community/gpt2"})
    await running.catalog.prepare()
    again = await running.bus.request(rpc.MODEL_LIST, ListModels())
    assert len(again.models) == len(collection.models) - 1


async def test_a_search_result_can_be_sent_back_as_a_model(running: Running) -> None:
    HubHandler.searches = 0
    for _ in range(2):
        found = await running.listed(rpc.MODEL_SEARCH, SearchModels(query="tiny"))
    assert HubHandler.searches == 1
    assert (found[0]["id"], found[0]["parameters"], found[0]["likes"]) == ("someone/tiny-llama", "4M", 3)
    added = await running.bus.request(rpc.MODEL_ADD, AddModel.model_validate(found[0]))
    assert added.message == "Successfully added 'tiny llama' to your collection"
    assert (added.model.license, added.model.download_size) == ("mit", "16 MB")
    with pytest.raises(Conflict, match="Model 'someone/tiny-llama' already exists in your collection"):
        await running.bus.request(rpc.MODEL_ADD, AddModel(id="someone/tiny-llama"))


async def test_models_are_pinned_to_the_folder_first_then_to_the_hubs_commit(running: Running) -> None:
    folder = running.catalog.settings.models_dir / "local" / "mine"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    mine = await running.bus.request(rpc.MODEL_RESOLVE, ResolveModel(id="local/mine"))
    assert (mine.source, mine.revision) == ("folder", "sha256:" + hashlib.sha256(b"weights").hexdigest())
    hub = await running.bus.request(rpc.MODEL_RESOLVE, ResolveModel(id="someone/tiny-llama"))
    assert (hub.source, hub.revision) == ("hub", HUB_MODEL["sha"])


@pytest.mark.parametrize(
    ("model_id", "error", "sentence"),
    [
        ("local/none", NotFound, "TUNEDECK_MODELS_DIR"),
        ("someone/unknown", NotFound, "no such model"),
        ("someone/pickled", Conflict, "no safetensors"),
        ("../../etc", ValidationFailed, "a model id is"),
    ],
)
async def test_models_that_cannot_be_pinned(
    running: Running, model_id: str, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        await running.bus.request(rpc.MODEL_RESOLVE, ResolveModel(id=model_id))


async def test_without_the_hub_the_reason_is_told_soon() -> None:
    hub = Hub("http://127.0.0.1:9")
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable, match=r"cannot be reached \(ConnectError\)"):
            await hub.search("llama", 5)
        with pytest.raises(Unavailable):
            await hub.commit("someone/tiny-llama")
        assert await hub.details("someone/tiny-llama") is None
    hub.close()


async def test_health_names_the_versions(running: Running) -> None:
    health = await running.bus.request(rpc.health_check("catalog"), CheckHealth())
    assert health.status == "healthy"
    assert "pandas" in health.packages
