"""Token lengths by a model's tokenizer, from a folder and from a Hub."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import hf_hub_download
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.support.catalog_service import RunningCatalog, unique_csv
from tests.support.hub_server import HubServer
from tunedeck_catalog import hub_files, token_counts
from tunedeck_catalog.hub import Hub
from tunedeck_contracts import rpc
from tunedeck_contracts.datasets import CountTokens
from tunedeck_contracts.errors import Conflict, NotFound, Unavailable, ValidationFailed

pytestmark = pytest.mark.connected


def word_tokenizer() -> bytes:
    """One token for each word; it would cut and pad, which a count must not do."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=64)
    return str(tokenizer.to_str()).encode()


def put_model(root: Path, name: str, tokenizer: bytes | None) -> None:
    folder = root / "local" / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    if tokenizer is not None:
        (folder / "tokenizer.json").write_bytes(tokenizer)


def words(rows: list[tuple[int, int]]) -> bytes:
    lines = (f"{'q ' * prompt},{'a ' * answer}\n" for prompt, answer in rows)
    return b"input,output\n" + "".join(lines).encode()


def counts_of(running: RunningCatalog) -> token_counts.TokenCounts:
    return running.catalog.files._token_counts


class Forgetful(dict[Any, Any]):
    """What is kept is pushed out at once, as by requests for many other tokenizers."""

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


@pytest.fixture
def hub(running: RunningCatalog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    server = HubServer()
    server.start()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    client = Hub(server.url)
    monkeypatch.setattr(counts_of(running), "_hub", client)
    yield server
    client.close()
    server.stop()


async def test_the_plain_text_of_input_and_output_is_counted(running: RunningCatalog) -> None:
    put_model(running.catalog.settings.models_dir, "words", word_tokenizer())
    saved = await running.saved(words([(n, 100) for n in range(1, 101)]))
    wanted = CountTokens(dataset=saved.id, model="local/words", max_length=150)
    found = await running.bus.request(rpc.DATASET_TOKENS, wanted)
    assert (found.rows, found.counted_rows, found.sampled, found.over_max_length) == (100, 100, False, 50)
    assert (found.input.mean, found.input.p50, found.input.p95, found.input.max) == (50.5, 50, 95, 100)
    assert (found.output.mean, found.output.max, found.total.max) == (100.0, 100, 200)
    bars = found.input.histogram
    assert (bars[0].low, bars[0].high, bars[0].rows) == (0, 6, 5)
    assert sum(bar.rows for bar in bars) == 100 and len(bars) <= 20


async def test_of_many_rows_every_nth_is_counted_and_it_is_said(
    running: RunningCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_counts, "MAX_COUNTED_ROWS", 10)
    put_model(running.catalog.settings.models_dir, "words", word_tokenizer())
    saved = await running.saved(words([(n, 1) for n in range(1, 96)]))
    wanted = CountTokens(dataset=saved.uid, model="local/words")
    found = await running.bus.request(rpc.DATASET_TOKENS, wanted)
    assert (found.rows, found.counted_rows, found.sampled) == (95, 10, True)
    assert found.input.max == 91
    assert await running.bus.request(rpc.DATASET_TOKENS, wanted) == found


async def test_a_preview_has_them_when_a_model_is_named(running: RunningCatalog) -> None:
    put_model(running.catalog.settings.models_dir, "words", word_tokenizer())
    data = words([(4, 2), (600, 1)]) + b"no answer,\n"
    preview = await running.preview(data, model="local/words")
    assert preview.token_statistics is not None
    assert (preview.token_statistics.rows, preview.token_statistics.over_max_length) == (2, 1)
    assert "token_statistics" not in (await running.preview(data)).model_dump()


@pytest.mark.parametrize(
    ("model", "error", "sentence"),
    [
        ("local/none", NotFound, "TUNEDECK_MODELS_DIR"),
        ("local/bare", NotFound, "no local/bare/tokenizer.json"),
        ("local/broken", Conflict, "cannot be read"),
        ("../etc", ValidationFailed, "a model id is"),
    ],
)
async def test_tokenizers_that_cannot_be_had(
    running: RunningCatalog, model: str, error: type[Exception], sentence: str
) -> None:
    put_model(running.catalog.settings.models_dir, "bare", None)
    put_model(running.catalog.settings.models_dir, "broken", b"{}")
    saved = await running.saved(unique_csv())
    with pytest.raises(error, match=sentence):
        await running.bus.request(rpc.DATASET_TOKENS, CountTokens(dataset=saved.uid, model=model))


async def test_the_hubs_tokenizer_is_downloaded(running: RunningCatalog, hub: HubServer) -> None:
    hub.add("someone/words", {"tokenizer.json": word_tokenizer()})
    hub.add("someone/bare", {"config.json": b"{}"})
    saved = await running.saved(unique_csv())

    async def total(model: str) -> int:
        wanted = CountTokens(dataset=saved.uid, model=model)
        return (await running.bus.request(rpc.DATASET_TOKENS, wanted)).total.max

    with hub.away(), pytest.raises(Unavailable, match="cannot be reached"):
        await total("someone/words")
    assert await total("someone/words") == 4
    with pytest.raises(NotFound, match=r"no tokenizer\.json"):
        await total("someone/bare")
    with pytest.raises(NotFound, match="no such model"):
        await total("someone/nobody")


async def test_a_tokenizer_that_is_pushed_out_while_it_loads_serves(
    running: RunningCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts_of(running), "_loaded", Forgetful())
    put_model(running.catalog.settings.models_dir, "words", word_tokenizer())
    saved = await running.saved(unique_csv())
    found = await running.bus.request(rpc.DATASET_TOKENS, CountTokens(dataset=saved.uid, model="local/words"))
    assert found.total.max == 4


async def test_slow_downloads_hold_no_other_question_and_are_made_once(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on = threading.Event()
    asked: list[tuple[str, bool]] = []

    def held(model_id: str, *given: Any, dry_run: bool = False, **named: Any) -> Any:
        asked.append((model_id, dry_run))
        assert may_go_on.wait(60)
        return hf_hub_download(model_id, *given, dry_run=dry_run, **named)

    monkeypatch.setattr(hub_files, "hf_hub_download", held)
    names = [f"someone/words-{n}" for n in range(4)]
    for name in names:
        hub.add(name, {"tokenizer.json": word_tokenizer()})
    client = Hub(hub.url)
    downloads = [asyncio.create_task(client.tokenizer(name)) for name in names for _ in range(3)]
    await asyncio.sleep(0)
    try:
        assert len(await client.search("words", 10)) == 4
        # Who gives up takes the file from nobody.
        downloads[0].cancel()
    finally:
        may_go_on.set()
    paths = await asyncio.gather(*downloads[1:])
    assert {path.read_bytes() for path in paths} == {word_tokenizer()}
    assert sorted(asked) == [(name, dry_run) for name in names for dry_run in (False, True)]
    client.close()
