"""The Hugging Face Hub, asked in threads of its own with a time limit."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from httpx2 import Response, TimeoutException, TransportError
from huggingface_hub import HfApi, ModelInfo, get_session, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # public, not in __all__
    build_hf_headers,
    hf_raise_for_status,
)

from tunedeck_catalog.hub_files import Downloads
from tunedeck_catalog.model_config import context_length, positions
from tunedeck_catalog.model_names import name_of, provider_of
from tunedeck_contracts.errors import Conflict, NotFound, TunedeckError, Unavailable
from tunedeck_contracts.models import LONGEST_TAG, MOST_TAGS, FoundModel

SEARCH_SECONDS = 8.0
RESOLVE_SECONDS = 8.0
DETAILS_SECONDS = 3.0
DOWNLOAD_SECONDS = 40.0
CONFIG_BYTES = 1024 * 1024
CACHE_SECONDS = 60.0
CACHE_ENTRIES = 256
CONCURRENT_REQUESTS = 4
SEARCH_FIELDS = [
    "downloads",
    "gated",
    "gguf",
    "library_name",
    "likes",
    "pipeline_tag",
    "safetensors",
    "tags",
]

# No JSON (a captive portal's page, say), or JSON of another shape.
NO_ANSWER_OF_THE_HUB = (ValueError, KeyError, TypeError, RecursionError)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Details:
    """What the Hub or a folder says of a model; what it does not say is None."""

    parameters: str | None = None
    context_length: int | None = None
    license: str | None = None
    download_size: str | None = None
    gated: bool | None = None
    tags: list[str] = field(default_factory=list)


class Hub:
    """Read-only. The address and the token are huggingface_hub's: HF_ENDPOINT, HF_TOKEN."""

    def __init__(self, endpoint: str | None = None) -> None:
        self._api = HfApi(endpoint=endpoint)
        # Threads of their own: a Hub that hangs must not hold those that check files.
        self._threads = ThreadPoolExecutor(CONCURRENT_REQUESTS, thread_name_prefix="hub")
        self._downloads = Downloads(self._api.endpoint)
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

    async def commit(self, model_id: str, revision: str | None = None) -> str:
        """The commit that the model's main branch, or the named revision, is at.

        Raises:
            NotFound: the Hub has no such model or revision, or does not show it without a token.
            Conflict: the model is gated and the token, if any, does not open it, or it has no safetensors.
            Unavailable: the Hub cannot be reached.
        """
        return await self._ask(lambda: self._commit(model_id, revision), RESOLVE_SECONDS)

    async def details(self, model_id: str) -> Details | None:
        """What the Hub knows, or None if it does not say so soon: twice three seconds at most."""
        try:
            info = await self._ask(
                lambda: self._api.model_info(model_id, timeout=DETAILS_SECONDS, files_metadata=True),
                DETAILS_SECONDS,
            )
        except TunedeckError:
            return None
        found = _details(info)
        if found.context_length is not None:
            return found
        try:
            config = await self._ask(lambda: self._config(model_id), DETAILS_SECONDS)
        except TunedeckError:
            return found
        return replace(found, context_length=context_length(config))

    async def tokenizer(self, model_id: str) -> Path:
        """The model's tokenizer.json in the Hub's cache; see `tokenizer_file` for what else it raises."""
        return await _answer(self._downloads.tokenizer(model_id), DOWNLOAD_SECONDS)

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._downloads.close()

    def _search(self, query: str, limit: int) -> list[FoundModel]:
        # Not list_models(): it tries five times with growing pauses and without a time limit.
        answer = self._get(
            "/api/models",
            SEARCH_SECONDS,
            search=query,
            limit=limit,
            sort="downloads",
            pipeline_tag="text-generation",
            expand=SEARCH_FIELDS,
        )
        return [_found(_model_info(item)) for item in answer.json()[:limit]]

    def _commit(self, model_id: str, revision: str | None) -> str:
        info = self._api.model_info(model_id, revision=revision, timeout=RESOLVE_SECONDS)
        if info.gated:
            self._check_access(model_id)
        if not weight_files(info):
            raise Conflict(f"Model {model_id!r} has no safetensors weights; other formats are not loaded.")
        if not any(file.rfilename == "config.json" for file in info.siblings or []):
            raise Conflict(f"Model {model_id!r} has no config.json: it is no model to train, an adapter say.")
        if info.sha is None:
            raise Unavailable(f"The Hub gave no commit for model {model_id!r}; try again later.")
        return info.sha

    def _check_access(self, model_id: str) -> None:
        try:
            # Not auth_check(), which waits for ever.
            self._get(f"/api/models/{model_id}/auth-check", RESOLVE_SECONDS)
        except GatedRepoError:
            raise Conflict(
                f"Model {model_id!r} is gated: accept its terms on the Hub, and set HF_TOKEN for the "
                "services to a token of the account that accepted them."
            ) from None

    def _config(self, model_id: str) -> Any:
        address = hf_hub_url(model_id, "config.json", endpoint=self._api.endpoint)
        headers = build_hf_headers()
        with get_session().stream("GET", address, headers=headers, timeout=DETAILS_SECONDS) as response:
            hf_raise_for_status(response)
            text = b""
            for piece in response.iter_bytes():
                text += piece
                if len(text) > CONFIG_BYTES:
                    raise ValueError("config.json is larger than a configuration can be")
        return json.loads(text)

    def _get(self, path: str, seconds: float, **params: Any) -> Response:
        response = get_session().get(
            f"{self._api.endpoint}{path}", params=params, headers=build_hf_headers(), timeout=seconds
        )
        hf_raise_for_status(response)
        return response

    async def _ask(self, question: Callable[[], Result], seconds: float) -> Result:
        return await _answer(asyncio.get_running_loop().run_in_executor(self._threads, question), seconds)


async def _answer(asked: Awaitable[Result], seconds: float) -> Result:
    try:
        return await asyncio.wait_for(asked, seconds)
    except RepositoryNotFoundError:
        raise NotFound(
            "The Hugging Face Hub has no such model, or does not show it without a token (HF_TOKEN)."
        ) from None
    except RevisionNotFoundError:
        raise NotFound(
            "The Hugging Face Hub has this model, but not at the revision that is wanted."
        ) from None
    except (TransportError, HfHubHTTPError, OSError, *NO_ANSWER_OF_THE_HUB) as error:
        raise _unavailable(error, seconds) from None


def _unavailable(error: Exception, seconds: float) -> Unavailable:
    if isinstance(error, (TimeoutError, TimeoutException)):  # Both limits are one; either ends first.
        reason = f"it did not answer within {seconds:g} s"
    elif isinstance(error, OfflineModeIsEnabled):
        reason = "HF_HUB_OFFLINE is set"
    elif isinstance(error, HfHubHTTPError):
        reason = f"it answered {error.response.status_code}"
    elif isinstance(error, NO_ANSWER_OF_THE_HUB):
        reason = "what answers at its address is no Hub"
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
        context_length=_gguf_length(info),
        tags=_tags(info),
        downloads=info.downloads or 0,
        likes=info.likes or 0,
        gated=_gated(info),
    )


def weight_files(info: ModelInfo) -> list[RepoSibling]:
    """The weights that a trainer downloads: safetensors beside config.json.

    `consolidated*` holds the same weights a second time, in Mistral's own layout.
    """
    return [
        file
        for file in info.siblings or []
        if file.rfilename.endswith(".safetensors")
        and "/" not in file.rfilename
        and not file.rfilename.startswith("consolidated")
    ]


def _details(info: ModelInfo) -> Details:
    size = sum(file.size or 0 for file in weight_files(info))
    licenses = [tag.removeprefix("license:") for tag in _tags(info) if tag.startswith("license:")]
    return Details(
        parameters=_parameters(info),
        context_length=_gguf_length(info),
        license=licenses[0] if licenses else None,
        download_size=_decimal_size(size) if size else None,
        gated=_gated(info),
        tags=_tags(info),
    )


def _tags(info: ModelInfo) -> list[str]:
    """As many as a model of the collection may have."""
    return [tag for tag in info.tags or [] if len(tag) <= LONGEST_TAG][:MOST_TAGS]


def _gated(info: ModelInfo) -> bool | None:
    """The Hub says False, or by whom access is granted ("auto", "manual")."""
    return None if info.gated is None else bool(info.gated)


def _parameters(info: ModelInfo) -> str | None:
    total = info.safetensors.total if info.safetensors else None
    return readable_count(total) if total else None


def _gguf_length(info: ModelInfo) -> int | None:
    gguf: dict[str, Any] = info.gguf or {}
    return positions(gguf.get("context_length"))


def readable_count(count: int) -> str:
    """`134515008` -> `135M`, `8030261248` -> `8B`."""
    if count < 999_500_000:
        return f"{count / 1e6:.0f}M"
    return f"{count / 1e9:.1f}".removesuffix(".0") + "B"


def _decimal_size(size: int) -> str:
    return f"{size / 1e6:.0f} MB" if size < 999_500_000 else f"{size / 1e9:.1f} GB"
