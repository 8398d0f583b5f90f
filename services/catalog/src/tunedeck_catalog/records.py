"""What the catalog keeps, as its domain sees it."""

from dataclasses import dataclass
from datetime import datetime

from tunedeck_catalog.reading import Reading
from tunedeck_contracts.datasets import Dataset


@dataclass(frozen=True)
class Upload:
    """A file that was checked and may become a dataset until `expires_at`."""

    uid: str
    filename: str
    blob_id: str
    sha256: str
    size: int
    is_new: bool
    reading: Reading
    expires_at: datetime


@dataclass(frozen=True)
class SavedDataset:
    """A dataset, with its rows as they are pinned for training.

    `rows_before` has for each chunk of the rows' blob how many rows end before it.
    `csv_blob` holds the rows as CSV, once that was asked for. `upload_id` is the upload it was made
    of; `automatic` when a job's reference to the upload made it.
    """

    dataset: Dataset
    rows_blob: str
    rows_sha256: str
    rows_before: list[int]
    upload_id: str
    automatic: bool
    csv_blob: str | None = None
