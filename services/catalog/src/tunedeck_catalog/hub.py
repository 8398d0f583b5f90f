"""The Hugging Face Hub, asked in threads of its own with a time limit."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from httpx2 import TransportError
from huggingface_hub import HfApi, ModelInfo, get_session, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # public, not in __all__
    build_hf_headers,
    hf_raise_for_status,
)

from tunedeck_catalog.model_names import name_of, provider_of
from tunedeck_contracts.errors import Conflict, NotFound, TunedeckError, Unavailable
from tunedeck_contracts.models import FoundModel

SEARCH_SECONDS = 8.0
RESOLVE_SECONDS = 8.0
DETAILS_SECONDS = 2.0
CACHE_SECONDS = 60.0
CACHE_ENTRIES = 256
CONCURRENT_REQUESTS = 4
SEARCH_FIELDS = ["downloads", "gguf", "library_name", "likes", "pipeline_tag", "safetensors", "tags"]

Result = TypeVar("Result")


@dataclass(frozen=True)
class Details:
    """What the Hub knows of a model; what it does not know is None."""

    parameters: str | None
    context_length: int | None
    license: str | None
    download_size: str | None
    tags: list[str]


class Hub:
    """Read-only. The address and the token are huggingface_hub's: HF_ENDPOINT, HF_TOKEN."""

    def __init__(self, endpoint: str | None = None) -> None:
        self._api = HfApi(endpoint=endpoint)
        # Threads of their own: a Hub that hangs must not hold those that check files.
        self._threads = ThreadPoolExecutor(CONCURRENT_REQUESTS, thread_name_prefix="hub")
        self._found: dict[tuple[str, int], tuple[float, list[FoundModel]]] = {}

    async def search(self, query: str, limit: int) -> list[FoundModel]:
        """Text-generation models by downloads; an answer is kept for a minute.

        Raises:
            Unavailable: the Hub cannot be reached, with the reason.
        """
        key = (query.casefold().strip(), limit)
        kept = self._found.get(key)
        if kept is not None and kept[0] > time.monotonic():
            return kept[1]
        found = await self._ask(lambda: self._search(query, limit), SEARCH_SECONDS)
        if len(self._found) >= CACHE_ENTRIES:
            self._found.clear()
        self._found[key] = (time.monotonic() + CACHE_SECONDS, found)
        return found

    async def commit(self, model_id: str) -> str:
        """The commit that the model's main branch is at.

        Raises:
            NotFound: the Hub has no such model, or does not show it without a token.
            Conflict: the model is gated and there is no token, or it has no safetensors.
            Unavailable: the Hub cannot be reached.
        """
        info = await self._ask(
            lambda: self._api.model_info(model_id, timeout=RESOLVE_SECONDS), RESOLVE_SECONDS
        )
        if info.gated and get_token() is None:
            raise Conflict(
                f"Model {model_id!r} is gated: accept its terms on the Hub and set HF_TOKEN for the services."
            )
        if not any(file.rfilename.endswith(".safetensors") for file in info.siblings or []):
            raise Conflict(f"Model {model_id!r} has no safetensors weights; other formats are not loaded.")
        if info.sha is None:
            raise Unavailable(f"The Hub gave no commit for model {model_id!r}; try again later.")
        return info.sha

    async def details(self, model_id: str) -> Details | None:
        """What the Hub knows, or None if it does not say so within two seconds."""
        try:
            info = await self._ask(
                lambda: self._api.model_info(model_id, timeout=DETAILS_SECONDS, files_metadata=True),
                DETAILS_SECONDS,
            )
        except TunedeckError:
            return None
        return _details(info)

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _search(self, query: str, limit: int) -> list[FoundModel]:
        # Not list_models(): it tries five times with growing pauses and without a time limit.
        response = get_session().get(
            f"{self._api.endpoint}/api/models",
            params={
                "search": query,
                "limit": limit,
                "sort": "downloads",
                "pipeline_tag": "text-generation",
                "expand": SEARCH_FIELDS,
            },
            headers=build_hf_headers(),
            timeout=SEARCH_SECONDS,
        )
        hf_raise_for_status(response)
        return [_found(_model_info(item)) for item in response.json()[:limit]]

    async def _ask(self, question: Callable[[], Result], seconds: float) -> Result:
        asked = asyncio.get_running_loop().run_in_executor(self._threads, question)
        try:
            return await asyncio.wait_for(asked, seconds)
        except RepositoryNotFoundError:
            raise NotFound(
                "The Hugging Face Hub has no such model, or does not show it without a token (HF_TOKEN)."
            ) from None
        except (TransportError, HfHubHTTPError, OSError, ValueError) as error:
            # ValueError: what answered speaks no JSON, a captive portal say.
            raise _unavailable(error, seconds) from None


def _unavailable(error: Exception, seconds: float) -> Unavailable:
    if isinstance(error, TimeoutError):
        reason = f"it did not answer within {seconds:g} s"
    elif isinstance(error, OfflineModeIsEnabled):
        reason = "HF_HUB_OFFLINE is set"
    elif isinstance(error, HfHubHTTPError):
        reason = f"it answered {error.response.status_code}"
    else:
        reason = type(error).__name__
    return Unavailable(
        f"The Hugging Face Hub cannot be reached ({reason}). The models of the collection that are "
        "in the models folder work without it."
    )


def _model_info(item: dict[str, Any]) -> ModelInfo:
    return ModelInfo(**item)  # type: ignore[no-untyped-call]


def _found(info: ModelInfo) -> FoundModel:
    kind = (info.pipeline_tag or "text-generation").replace("-", " ")
    library = f" for {info.library_name}" if info.library_name else ""
    return FoundModel(
        id=info.id,
        name=name_of(info.id),
        provider=provider_of(info.id),
        category=kind.title(),
        description=f"{kind.capitalize()} model{library} on the Hugging Face Hub",
        parameters=_parameters(info),
        context_length=_context_length(info),
        tags=(info.tags or [])[:100],
        downloads=info.downloads or 0,
        likes=info.likes or 0,
    )


def _details(info: ModelInfo) -> Details:
    sizes = [file.size or 0 for file in info.siblings or [] if file.rfilename.endswith(".safetensors")]
    licenses = [tag.removeprefix("license:") for tag in info.tags or [] if tag.startswith("license:")]
    return Details(
        parameters=_parameters(info),
        context_length=_context_length(info),
        license=licenses[0] if licenses else None,
        download_size=_decimal_size(sum(sizes)) if sum(sizes) else None,
        tags=(info.tags or [])[:100],
    )


def _parameters(info: ModelInfo) -> str | None:
    total = info.safetensors.total if info.safetensors else None
    return readable_count(total) if total else None


def _context_length(info: ModelInfo) -> int | None:
    gguf: dict[str, Any] = info.gguf or {}
    length = gguf.get("context_length")
    return length if isinstance(length, int) and length > 0 else None


def readable_count(count: int) -> str:
    """`134515008` -> `135M`, `8030261248` -> `8B`."""
    if count < 999_500_000:
        return f"{count / 1e6:.0f}M"
    return f"{count / 1e9:.1f}".removesuffix(".0") + "B"


def _decimal_size(size: int) -> str:
    return f"{size / 1e6:.0f} MB" if size < 999_500_000 else f"{size / 1e9:.1f} GB"
