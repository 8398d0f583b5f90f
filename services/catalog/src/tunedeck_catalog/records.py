"""What the catalog keeps, as its domain sees it."""

from dataclasses import dataclass
from datetime import datetime

from tunedeck_catalog.csv_check import Mapping
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
    mapping: Mapping
    expires_at: datetime


@dataclass(frozen=True)
class SavedDataset:
    """A dataset, with its rows as they are pinned for training.

    `upload_id` is the upload it was made of; `automatic` when a job's reference to the upload made it.
    """

    dataset: Dataset
    rows_blob: str
    rows_sha256: str
    upload_id: str
    automatic: bool
