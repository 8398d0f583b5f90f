"""How a model is pinned: to its folder first, then to a commit of the Hub."""

import hashlib

import pytest

from tests.connected.models.conftest import GATED, TINY, Running
from tests.support.hub_server import ACCEPTED_TOKEN, HubServer
from tests.support.small_models import model_files
from tunedeck_catalog.hub import Hub
from tunedeck_contracts.errors import Conflict, NotFound, Unavailable

pytestmark = pytest.mark.connected


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
