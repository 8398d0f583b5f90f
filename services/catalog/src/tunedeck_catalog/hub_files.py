"""Single files of the Hub's models, by huggingface_hub and its cache."""

from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError
from huggingface_hub.file_download import DryRunFileInfo

from tunedeck_contracts.errors import Conflict, NotFound

TOKENIZER = "tokenizer.json"
MAX_TOKENIZER_BYTES = 128 * 1024 * 1024


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
