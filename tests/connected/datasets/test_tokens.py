"""Token lengths by a model's tokenizer, from a folder and from a Hub."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.support.catalog_service import RunningCatalog, unique_csv
from tests.support.hub_server import HubServer
from tunedeck_catalog import token_counts
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


@pytest.fixture
def hub(running: RunningCatalog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    server = HubServer()
    server.start()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    counts = running.catalog.broker.context.get("dataset_files")._token_counts
    monkeypatch.setattr(counts, "_hub", Hub(server.url))
    yield server
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
