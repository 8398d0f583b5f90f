"""Token lengths of rows by a model's tokenizer."""

import asyncio
from array import array
from collections.abc import AsyncIterator
from pathlib import Path

import numpy
from tokenizers import Tokenizer

from tunedeck_catalog.file_check import Pair
from tunedeck_catalog.folders import ModelFolders
from tunedeck_catalog.hub import Hub
from tunedeck_catalog.hub_files import TOKENIZER
from tunedeck_catalog.model_names import LOCAL, checked_model_id
from tunedeck_contracts.errors import Conflict, NotFound
from tunedeck_contracts.tokens import HistogramBar, TokenLengths, TokenStatistics

MAX_COUNTED_ROWS = 10_000
MAX_COUNTED_BYTES = 8 * 1024 * 1024
_BATCH_ROWS = 256
_BARS = 20
_KEPT_TOKENIZERS = 4


class TokenCounts:
    """Loads tokenizers and counts with them. A tokenizer that was loaded is kept for the next time."""

    def __init__(self, folders: ModelFolders, hub: Hub) -> None:
        self._folders = folders
        self._hub = hub
        self._loaded: dict[tuple[Path, int], Tokenizer] = {}

    async def tokenizer(self, model_id: str) -> Tokenizer:
        """Of the model's folder if there is one, else of the Hub.

        Raises:
            ValidationFailed: the id is none.
            NotFound: there is no such model, or it has no tokenizer.json.
            Conflict: the tokenizer cannot be used.
            Unavailable: there is no folder, and the Hub cannot be reached.
        """
        checked_model_id(model_id)
        if await asyncio.to_thread(self._folders.has, model_id) or model_id.startswith(f"{LOCAL}/"):
            path = self._folders.root / model_id / TOKENIZER
            if not path.is_file():
                raise NotFound(f"There is no {model_id}/{TOKENIZER} below TUNEDECK_MODELS_DIR.")
        else:
            path = await self._hub.tokenizer(model_id)
        key = path, path.stat().st_mtime_ns
        tokenizer = self._loaded.get(key)
        if tokenizer is None:
            tokenizer = await asyncio.to_thread(_load, model_id, path)
            self._keep(key, tokenizer)
        return tokenizer

    async def count(
        self,
        model_id: str,
        batches: AsyncIterator[list[Pair]],
        *,
        rows: int,
        size: int,
        max_length: int,
    ) -> TokenStatistics:
        """Count the tokens of `rows` rows with about `size` bytes; of many only every n-th row.

        Raises:
            TunedeckError: as `tokenizer`.
        """
        tokenizer = await self.tokenizer(model_id)
        step = max(1, -(-rows // MAX_COUNTED_ROWS), -(-size // MAX_COUNTED_BYTES))
        inputs, outputs = array("L"), array("L")
        seen = 0
        async for pairs in batches:
            chosen = pairs[-seen % step :: step]
            seen += len(pairs)
            for at in range(0, len(chosen), _BATCH_ROWS):
                batch = chosen[at : at + _BATCH_ROWS]
                prompts, answers = await asyncio.to_thread(_lengths, tokenizer, batch)
                inputs.extend(prompts)
                outputs.extend(answers)
        return _statistics(model_id, rows, step > 1, max_length, inputs, outputs)

    def _keep(self, key: tuple[Path, int], tokenizer: Tokenizer) -> None:
        while len(self._loaded) >= _KEPT_TOKENIZERS:
            del self._loaded[next(iter(self._loaded))]
        self._loaded[key] = tokenizer


def _load(model_id: str, path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise Conflict(f"The {TOKENIZER} of model {model_id!r} cannot be read: {error}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _lengths(tokenizer: Tokenizer, pairs: list[Pair]) -> tuple[list[int], list[int]]:
    texts = [text for pair in pairs for text in pair]
    found = [len(one) for one in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    return found[::2], found[1::2]


def _statistics(
    model_id: str, rows: int, is_sampled: bool, max_length: int, inputs: "array[int]", outputs: "array[int]"
) -> TokenStatistics:
    prompts = numpy.array(inputs, dtype=numpy.int64)
    answers = numpy.array(outputs, dtype=numpy.int64)
    totals = prompts + answers
    return TokenStatistics(
        model=model_id,
        rows=rows,
        counted_rows=len(totals),
        sampled=is_sampled,
        max_length=max_length,
        over_max_length=int((totals > max_length).sum()),
        input=_summary(prompts),
        output=_summary(answers),
        total=_summary(totals),
    )


def _summary(lengths: "numpy.ndarray[tuple[int], numpy.dtype[numpy.int64]]") -> TokenLengths:
    """Percentiles by nearest rank; a dataset has at least one row."""
    p50, p95 = numpy.percentile(lengths, (50, 95), method="inverted_cdf")
    longest = int(lengths.max())
    width = longest // _BARS + 1
    counts = numpy.bincount(lengths // width)
    return TokenLengths(
        mean=round(float(lengths.mean()), 2),
        p50=int(p50),
        p95=int(p95),
        max=longest,
        histogram=[
            HistogramBar(low=bar * width, high=(bar + 1) * width, rows=count)
            for bar, count in enumerate(counts.tolist())
        ],
    )
