"""Single files of the Hub's models, by huggingface_hub and its cache."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError
from huggingface_hub.file_download import DryRunFileInfo

from tunedeck_contracts.errors import Conflict, NotFound

TOKENIZER = "tokenizer.json"
MAX_TOKENIZER_BYTES = 128 * 1024 * 1024
CONCURRENT_DOWNLOADS = 2


class Downloads:
    """Tokenizers on their way, each once, in threads of their own: a slow file holds no other question."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._threads = ThreadPoolExecutor(CONCURRENT_DOWNLOADS, thread_name_prefix="hub-download")
        self._under_way: dict[str, asyncio.Future[Path]] = {}

    async def tokenizer(self, model_id: str) -> Path:
        """As `tokenizer_file`; who gives up waiting ends the download for nobody."""
        download = self._under_way.get(model_id)
        if download is None:
            loop = asyncio.get_running_loop()
            download = loop.run_in_executor(self._threads, tokenizer_file, model_id, self._endpoint)
            self._under_way[model_id] = download
            download.add_done_callback(lambda _: self._under_way.pop(model_id))
        return await asyncio.shield(download)

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def tokenizer_file(model_id: str, endpoint: str) -> Path:
    """The model's tokenizer.json, downloaded unless it is in the cache. Waits for the network.

    Raises:
        NotFound: the model has none.
        Conflict: it is larger than a tokenizer can be.
        Exception: what huggingface_hub raises when the Hub cannot be reached or has no such model.
    """
    try:
        found = hf_hub_download(model_id, TOKENIZER, endpoint=endpoint, dry_run=True)
        assert isinstance(found, DryRunFileInfo)
        if (found.file_size or 0) > MAX_TOKENIZER_BYTES:
            raise Conflict(f"The {TOKENIZER} of model {model_id!r} has {found.file_size:,} bytes; too many.")
        return Path(str(hf_hub_download(model_id, TOKENIZER, endpoint=endpoint)))
    except RemoteEntryNotFoundError:
        raise NotFound(
            f"Model {model_id!r} has no {TOKENIZER}, so that its tokens cannot be counted."
        ) from None
    except LocalEntryNotFoundError as error:
        raise error.__cause__ or error from None
