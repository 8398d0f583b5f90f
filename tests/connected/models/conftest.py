"""The catalog's models over a real NATS and a real MongoDB, and the real client of a local Hub."""

import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.hub_server import HubServer
from tests.support.servers import provision
from tests.support.small_models import model_files
from tunedeck_catalog import hub as hub_module
from tunedeck_catalog.app import Catalog
from tunedeck_catalog.hub import Hub
from tunedeck_catalog.settings import CatalogSettings
from tunedeck_chassis.bus import Bus
from tunedeck_chassis.service import started
from tunedeck_contracts import rpc
from tunedeck_contracts.models import (
    AddModel,
    Model,
    ResolvedModel,
    ResolveModel,
    SearchModels,
)

TINY = "someone/tiny-llama"
GATED = "someone/gated-llama"
BUNDLED = "HuggingFaceTB/SmolLM2-135M-Instruct"
UNREADABLE = {
    "unreadable/text": b"no JSON",
    "unreadable/list": b"[]",
    "unreadable/deep": b"[" * 100_000,
    "unreadable/large": b'{"n_positions": 512, "more": "' + b"x" * 2**20 + b'"}',
}


@pytest.fixture(scope="module", autouse=True)
def published(hub: HubServer) -> None:
    """What the local Hub has."""
    hub.add(TINY, model_files(max_position_embeddings=2048), license="mit")
    hub.add(GATED, model_files(n_positions=512), gated=True)
    for name, config in UNREADABLE.items():
        hub.add(name, {**model_files(), "config.json": config})
    hub.add("someone/pickled", {"config.json": b"{}", "pytorch_model.bin": b"pickle"})
    hub.add("someone/adapter", {"adapter_model.safetensors": model_files()["model.safetensors"]})


@dataclass(frozen=True)
class Running:
    """The service at work, and a client of it."""

    catalog: Catalog
    bus: Bus

    async def add(self, model_id: str, **given: Any) -> Model:
        return (await self.bus.request(rpc.MODEL_ADD, AddModel(id=model_id, **given), timeout=60)).model

    async def search(self, query: str, limit: int = 10) -> list[dict[str, Any]]:
        """The bare list, as the gateway passes it on."""
        message = SearchModels(query=query, limit=limit)
        reply = await self.bus.forward(rpc.MODEL_SEARCH, message.to_json())
        assert reply.status == 200, reply.body
        found: list[dict[str, Any]] = json.loads(reply.body)
        return found

    async def resolve(self, model_id: str, revision: str | None = None) -> ResolvedModel:
        return await self.bus.request(rpc.MODEL_RESOLVE, ResolveModel(id=model_id, revision=revision))


@pytest.fixture
async def running(
    nats_url: str, mongo_url: str, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Running]:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    # The Hub's stand-in may take its time.
    monkeypatch.setattr(hub_module, "DETAILS_SECONDS", 20.0)
    settings = CatalogSettings(
        nats_url=nats_url,
        mongo_url=mongo_url,
        catalog_database=f"catalog_{uuid.uuid4().hex[:8]}",
        models_dir=tmp_path / "models",
    )
    await provision(nats_url)
    catalog = Catalog(settings, hub=Hub(hub.url))
    async with started(catalog.broker, catalog.prepare):
        yield Running(catalog, Bus(catalog.broker))
    await catalog.client.drop_database(settings.catalog_database)
    await catalog.close()
