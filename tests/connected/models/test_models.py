"""The catalog's models over a real NATS and a real MongoDB, and the real client of a local Hub."""

import pytest

from tests.connected.models.conftest import BUNDLED, GATED, TINY, UNREADABLE, Running
from tests.support.hub_server import HubServer
from tests.support.small_models import model_files
from tunedeck_catalog import hub as hub_module
from tunedeck_contracts import rpc
from tunedeck_contracts.errors import Conflict, NotFound, Unavailable, ValidationFailed
from tunedeck_contracts.models import (
    AddModel,
    CheckModel,
    GetModel,
    ListModels,
    RemoveModel,
    ResolveModel,
    SearchModels,
)

pytestmark = pytest.mark.connected

NO_IDS = ["../../etc", "/etc/passwd", "http://hub/model", "a/b/c", "a..b", "a--b", ""]


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
