"""Datasets and the uploads they come from."""

from pydantic import Field

from tunedeck_contracts.errors import ErrorReply
from tunedeck_contracts.message import CamelMessage, Message, Timestamp


class CheckUpload(Message):
    """Check a file that the gateway has put in the blob store."""

    filename: str
    blob_id: str
    sha256: str
    size: int
    input_column: str = "input"
    output_column: str = "output"


class CheckStoredUpload(Message):
    """Check an upload again with its columns mapped, without sending it again."""

    upload_id: str
    input_column: str
    output_column: str


class PreviewStatistics(Message):
    """Counts over the whole file, not its head."""

    total_rows: int
    total_columns: int
    file_size_kb: float
    preview_rows: int
    has_required_columns: bool


class CsvPreview(Message):
    """What `POST /api/preview-csv` answers."""

    filename: str
    columns: list[str]
    data: list[dict[str, str]] = Field(description="The first rows, keyed by column.")
    validation_errors: list[str] = Field(description="Softer findings, each with its row number.")
    statistics: PreviewStatistics
    is_new_upload: bool = Field(
        alias="isNewUpload", description="False when the same bytes were seen before."
    )
    upload_id: str = Field(description="Saves the file as a dataset without sending it again; kept 24 hours.")

    model_config = {"validate_by_name": True, "validate_by_alias": True}


class RefusedUpload(ErrorReply):
    """A file that cannot become a dataset as it is; its columns can still be mapped by `upload_id`."""

    columns: list[str] = []
    data: list[dict[str, str]] = []
    upload_id: str


class CreateDataset(CamelMessage):
    """Save an upload as a dataset."""

    upload_id: str = Field(alias="upload_id")
    name: str = Field(min_length=1, max_length=200)
    id: str | None = Field(
        default=None, max_length=100, description="A slug of the caller's; made from the name when absent."
    )
    description: str = Field(default="", max_length=4000)
    tags: list[str] = Field(default=[], max_length=50)


class DatasetValidation(CamelMessage):
    """What the check of the whole file found."""

    is_valid: bool
    has_required_columns: bool
    errors: list[str]


class Dataset(CamelMessage):
    """A dataset as api.md shows it."""

    uid: str
    id: str
    name: str
    description: str
    tags: list[str]
    columns: list[str]
    rows: int
    size: str = Field(description="For people: '2.3 MB'.")
    created_at: Timestamp
    validation: DatasetValidation


class ListDatasets(Message):
    """Every dataset, newest first."""


class DatasetList(Message):
    """At most 1,000 datasets; the HTTP answer is the bare list."""

    datasets: list[Dataset]

    def to_json(self) -> bytes:
        return b"[" + b",".join(one.to_json() for one in self.datasets) + b"]"


class ResolveDataset(Message):
    """What a job names as its dataset: a uid, an `id`, or an `upload_id` (which saves it)."""

    reference: str


class ResolvedDataset(Message):
    """A dataset pinned for training.

    The blob is JSON Lines in UTF-8; every line an object with the two strings `input` and `output`.
    """

    uid: str
    name: str
    rows: int
    rows_blob: str
    rows_sha256: str
