"""The catalog's models over a real NATS and a real MongoDB, and the real client of a local Hub."""

import hashlib
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.hub_server import ACCEPTED_TOKEN, HubServer
from tests.support.servers import provision
from tests.support.small_models import model_files
from tunedeck_catalog import hub as hub_module
from tunedeck_catalog.app import Catalog
from tunedeck_catalog.hub import Hub
from tunedeck_catalog.settings import CatalogSettings
from tunedeck_chassis.bus import Bus
from tunedeck_chassis.service import started
from tunedeck_contracts import rpc
from tunedeck_contracts.errors import Conflict, NotFound, Unavailable, ValidationFailed
from tunedeck_contracts.models import (
    AddModel,
    CheckModel,
    GetModel,
    ListModels,
    Model,
    RemoveModel,
    ResolvedModel,
    ResolveModel,
    SearchModels,
)

pytestmark = pytest.mark.connected

TINY = "someone/tiny-llama"
GATED = "someone/gated-llama"
BUNDLED = "HuggingFaceTB/SmolLM2-135M-Instruct"
UNREADABLE = {
    "unreadable/text": b"no JSON",
    "unreadable/list": b"[]",
    "unreadable/deep": b"[" * 100_000,
    "unreadable/large": b'{"n_positions": 512, "more": "' + b"x" * 2**20 + b'"}',
}
NO_IDS = ["../../etc", "/etc/passwd", "http://hub/model", "a/b/c", "a..b", "a--b", ""]


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
        return (await self.bus.request(rpc.MODEL_ADD, AddModel(id=model_id, **given))).model

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


def searches(hub: HubServer) -> int:
    return sum(request.startswith("GET /api/models?") for request in hub.requests)


async def test_a_new_installation_has_models_and_they_are_seeded_once(running: Running) -> None:
    collection = await running.bus.request(rpc.MODEL_LIST, ListModels())
    assert collection.models[0].id == BUNDLED
    assert (collection.categories[0], collection.providers[0]) == ("All Models", "All Providers")
    await running.bus.request(rpc.MODEL_REMOVE, RemoveModel(id="openai-community/gpt2"))
    await running.catalog.prepare()
    again = await running.bus.request(rpc.MODEL_LIST, ListModels())
    assert len(again.models) == len(collection.models) - 1


async def test_one_model_is_read_checked_and_removed(running: Running) -> None:
    added = await running.add("test-model/gpt-2", name="Test GPT-2", parameters="117M")
    assert await running.bus.request(rpc.MODEL_GET, GetModel(id=added.id)) == added
    assert (await running.bus.request(rpc.MODEL_CHECK, CheckModel(id=added.id))).exists is True
    removed = await running.bus.request(rpc.MODEL_REMOVE, RemoveModel(id=added.id))
    assert (removed.success, removed.message) == (True, "Successfully removed model 'test-model/gpt-2'")
    checked = await running.bus.request(rpc.MODEL_CHECK, CheckModel(id=added.id))
    assert (checked.exists, checked.model_id) == (False, "test-model/gpt-2")
    with pytest.raises(NotFound, match="'test-model/gpt-2' is not in your collection"):
        await running.bus.request(rpc.MODEL_GET, GetModel(id=added.id))
    with pytest.raises(NotFound, match="'test-model/gpt-2' is not in your collection"):
        await running.bus.request(rpc.MODEL_REMOVE, RemoveModel(id=added.id))


@pytest.mark.parametrize("model_id", NO_IDS)
async def test_what_is_no_id_is_refused_everywhere(running: Running, model_id: str) -> None:
    for request, message in (
        (rpc.MODEL_GET, GetModel(id=model_id)),
        (rpc.MODEL_CHECK, CheckModel(id=model_id)),
        (rpc.MODEL_REMOVE, RemoveModel(id=model_id)),
        (rpc.MODEL_RESOLVE, ResolveModel(id=model_id)),
    ):
        with pytest.raises(ValidationFailed, match="a model id is"):
            await running.bus.request(request, message)


async def test_the_hub_fills_in_what_the_caller_left_out(running: Running) -> None:
    model = await running.add(TINY)
    assert (model.parameters, model.context_length, model.license) == ("4M", 2048, "mit")
    assert (model.download_size, model.gated) == ("16 MB", False)
    assert "license:mit" in model.tags
    assert (await running.bus.request(rpc.MODEL_GET, GetModel(id=TINY))) == model


async def test_what_the_caller_says_stands(running: Running) -> None:
    given = {"parameters": "117M", "context_length": 7, "license": "own", "tags": ["mine"]}
    model = await running.add(TINY, **given)
    assert model.model_dump(include=set(given), by_alias=False) == given


async def test_what_the_hub_does_not_say_is_null(running: Running, hub: HubServer) -> None:
    hub.add("someone/bare", {"README.md": b"Nothing yet."})
    model = await running.add("someone/bare")
    assert (model.parameters, model.context_length, model.license, model.download_size) == (None,) * 4
    assert model.gated is False


async def test_the_size_is_of_what_a_trainer_downloads(running: Running, hub: HubServer) -> None:
    files = model_files()
    copies = dict.fromkeys(("consolidated.safetensors", "onnx/a.safetensors"), files["model.safetensors"])
    hub.add("many/copies", {**files, **copies})
    assert (await running.add("many/copies")).download_size == "16 MB"
    hub.add("many/elsewhere", {"config.json": b"{}", **copies})
    with pytest.raises(Conflict, match="no safetensors"):
        await running.resolve("many/elsewhere")


@pytest.mark.parametrize("model_id", UNREADABLE)
async def test_a_config_that_cannot_be_read_leaves_the_rest(running: Running, model_id: str) -> None:
    model = await running.add(model_id)
    assert (model.parameters, model.context_length) == ("4M", None)


async def test_a_gated_model_says_so(running: Running) -> None:
    model = await running.add(GATED)
    assert (model.gated, model.parameters, model.context_length) == (True, "4M", None)
    (found,) = await running.search("gated-llama")
    assert found["gated"] is True


async def test_a_model_that_the_hub_does_not_have_is_added_as_it_was_sent(running: Running) -> None:
    model = await running.add("someone/unknown", parameters="1B")
    assert (model.parameters, model.license, model.gated) == ("1B", None, None)


@pytest.mark.parametrize("mood", ["away", "slow", "broken"])
async def test_adding_does_not_wait_for_a_hub_in_trouble(
    running: Running, hub: HubServer, mood: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "DETAILS_SECONDS", 0.2)
    with getattr(hub, mood)():
        model = await running.add(TINY)
    assert (model.id, model.parameters, model.gated) == (TINY, None, None)


def test_the_time_limits_fit_into_the_requests() -> None:
    assert rpc.MODEL_ADD.timeout - 1 > 2 * hub_module.DETAILS_SECONDS
    assert rpc.MODEL_SEARCH.timeout - 1 > hub_module.SEARCH_SECONDS
    assert rpc.MODEL_RESOLVE.timeout - 1 > hub_module.RESOLVE_SECONDS


async def test_a_search_result_can_be_sent_back_as_a_model(running: Running) -> None:
    (found,) = await running.search("tiny-llama")
    assert (found["id"], found["parameters"], found["likes"]) == (TINY, "4M", 3)
    added = await running.bus.request(rpc.MODEL_ADD, AddModel.model_validate({**found, "recommended": True}))
    assert added.message == "Successfully added 'tiny llama' to your collection"
    assert added.model.recommended is False
    stored = await running.catalog.client[running.catalog.settings.catalog_database]["models"].find_one(
        {"_id": TINY}
    )
    assert stored is not None and not {"downloads", "likes"} & set(stored)
    with pytest.raises(Conflict, match=f"Model '{TINY}' already exists in your collection"):
        await running.add(TINY)


async def test_a_search_is_kept_for_a_while(running: Running, hub: HubServer) -> None:
    before = searches(hub)
    first = await running.search("Tiny-Llama")
    assert await running.search(" tiny-llama ") == first
    assert searches(hub) == before + 1
    await running.search("tiny-llama", limit=3)
    assert searches(hub) == before + 2


async def test_what_failed_is_not_kept(running: Running, hub: HubServer) -> None:
    with hub.away(), pytest.raises(Unavailable, match="cannot be reached"):
        await running.bus.request(rpc.MODEL_SEARCH, SearchModels(query="tiny-llama"))
    assert [one["id"] for one in await running.search("tiny-llama")] == [TINY]


@pytest.mark.parametrize(
    ("mood", "reason"),
    [("slow", "did not answer within 0.2 s"), ("broken", "is no Hub"), ("away", "RemoteProtocolError")],
)
async def test_a_search_says_why_there_is_no_answer(
    running: Running, hub: HubServer, mood: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "SEARCH_SECONDS", 0.2 if mood == "slow" else 8.0)
    with getattr(hub, mood)(), pytest.raises(Unavailable, match=reason):
        await running.bus.request(rpc.MODEL_SEARCH, SearchModels(query=f"anything {mood}"))


async def test_models_are_pinned_to_the_folder_first_then_to_the_hubs_commit(
    running: Running, hub: HubServer
) -> None:
    folder = running.catalog.settings.models_dir / "local" / "mine"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    mine = await running.resolve("local/mine")
    assert (mine.source, mine.revision) == ("folder", "sha256:" + hashlib.sha256(b"weights").hexdigest())
    pinned = await running.resolve(TINY)
    assert (pinned.source, pinned.revision) == ("hub", hub.models[TINY].main)


async def test_a_wanted_revision_is_pinned_or_refused(running: Running, hub: HubServer) -> None:
    model = hub.add("someone/moved-on", model_files(n_positions=1))
    wanted = model.main
    model.commit(model_files(n_positions=2))
    assert (await running.resolve(model.id)).revision == model.main != wanted
    assert (await running.resolve(model.id, wanted)).revision == wanted
    with pytest.raises(NotFound, match="not at the revision that is wanted"):
        await running.resolve(model.id, "0" * 40)
    folder = running.catalog.settings.models_dir / "local" / "mine"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    mine = (await running.resolve("local/mine")).revision
    assert (await running.resolve("local/mine", mine)).revision == mine
    with pytest.raises(NotFound, match=f"are {mine}; sha256:0 is wanted"):
        await running.resolve("local/mine", "sha256:0")


@pytest.mark.parametrize(
    ("model_id", "error", "sentence"),
    [
        ("local/none", NotFound, "TUNEDECK_MODELS_DIR"),
        ("someone/unknown", NotFound, "no such model"),
        ("someone/pickled", Conflict, "'someone/pickled' has no safetensors"),
        ("someone/adapter", Conflict, "'someone/adapter' has no config.json"),
        (GATED, Conflict, f"'{GATED}' is gated"),
    ],
)
async def test_models_that_cannot_be_pinned(
    running: Running, model_id: str, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        await running.resolve(model_id)


async def test_a_gated_model_is_pinned_with_a_token_that_opens_it(
    running: Running, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_ofSomeoneElse")
    with pytest.raises(Conflict, match="gated"):
        await running.resolve(GATED)
    monkeypatch.setenv("HF_TOKEN", ACCEPTED_TOKEN)
    assert (await running.resolve(GATED)).revision == hub.models[GATED].main
    assert (await running.add(GATED)).context_length == 512


async def test_without_the_hub_the_reason_is_told() -> None:
    hub = Hub("http://127.0.0.1:9")
    with pytest.raises(Unavailable, match=r"cannot be reached \(ConnectError\)"):
        await hub.search("llama", 5)
    with pytest.raises(Unavailable):
        await hub.commit(TINY)
    assert await hub.details(TINY) is None
    hub.close()
