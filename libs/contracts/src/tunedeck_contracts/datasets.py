"""Datasets and the uploads they come from."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from tunedeck_contracts.errors import ErrorReply
from tunedeck_contracts.message import CamelMessage, Message, Timestamp
from tunedeck_contracts.text_encodings import UTF_8, Encoding
from tunedeck_contracts.tokens import DEFAULT_MAX_LENGTH, TokenStatistics

Tag = Annotated[str, Field(min_length=1, max_length=100)]


class FileFormat(StrEnum):
    """What rows are uploaded and downloaded as; JSON Lines have an object a line with the same columns."""

    CSV = "csv"
    JSONL = "jsonl"


class CheckUpload(Message):
    """Check a file that the gateway puts into the blob store, or has put there.

    The gateway makes up the upload's id: the same check, asked again, is the same upload.
    """

    upload_id: str
    filename: str
    blob_id: str
    input_column: str = Field(default="input", max_length=200, description="The column of the prompts.")
    output_column: str = Field(default="output", max_length=200, description="The column of the answers.")
    encoding: Encoding = UTF_8
    format: FileFormat | None = Field(default=None, description="By the file's name when absent.")
    model: str | None = Field(
        default=None, max_length=200, description="Adds token-length statistics by this model's tokenizer."
    )


class CheckStoredUpload(Message):
    """Check an upload again, read in another way; what is absent stays as it was."""

    upload_id: str = Field(max_length=100, description="Of the preview.")
    input_column: str | None = Field(default=None, max_length=200, description="The column of the prompts.")
    output_column: str | None = Field(default=None, max_length=200, description="The column of the answers.")
    encoding: Encoding | None = None
    format: FileFormat | None = Field(default=None, description="CSV or JSON Lines.")
    model: str | None = Field(
        default=None, max_length=200, description="Adds token-length statistics by this model's tokenizer."
    )


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
    token_statistics: TokenStatistics | None = Field(
        default=None, exclude_if=lambda value: value is None, description="When a model was named."
    )

    model_config = {"validate_by_name": True, "validate_by_alias": True}


class RefusedUpload(ErrorReply):
    """A file that cannot become a dataset as it is; its columns can still be mapped by `upload_id`."""

    columns: list[str] = []
    data: list[dict[str, str]] = []
    upload_id: str


class CreateDataset(CamelMessage):
    """Save an upload as a dataset, with its columns as the upload's check had them unless they are given."""

    upload_id: str = Field(alias="upload_id", max_length=100, description="Of the preview.")
    name: str = Field(min_length=1, max_length=200, description="What people call it.")
    id: str | None = Field(
        default=None, max_length=64, description="A slug of the caller's; made from the name when absent."
    )
    description: str = Field(default="", max_length=4000, description="What is in it.")
    tags: list[Tag] = Field(default=[], max_length=50, description="Words to find it by.")
    input_column: str | None = Field(
        default=None, alias="input_column", max_length=200, description="The column of the prompts."
    )
    output_column: str | None = Field(
        default=None, alias="output_column", max_length=200, description="The column of the answers."
    )


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


class GetDataset(Message):
    """One dataset, by its uid or its `id`."""

    dataset: str


class GetRows(Message):
    """A page of a dataset's rows, by its uid or its `id`."""

    dataset: str
    offset: int = Field(default=0, ge=0)
    limit: int = Field(default=50, ge=1, le=1000)


class NumberedRow(Message):
    """A row that is trained on; the first has the number 1."""

    number: int
    input: str
    output: str


class RowPage(Message):
    """What `GET /api/datasets/{uid}/rows` answers.

    A page ends early after 8 MiB of rows: the next one starts at `offset` plus the number of `rows`.
    """

    rows: list[NumberedRow]
    total: int
    offset: int
    limit: int


class LocateFile(Message):
    """Where the rows of a dataset are as a file of this format."""

    dataset: str
    format: FileFormat = FileFormat.CSV


class DatasetFile(Message):
    """Where the gateway finds the bytes; `filename` is for the client."""

    filename: str
    media_type: str
    blob_id: str
    sha256: str
    size: int = Field(description="Bytes.")


class DatasetChanges(CamelMessage):
    """What `PATCH /api/datasets/{uid}` takes; what is absent stays."""

    name: str | None = Field(default=None, min_length=1, max_length=200, description="What people call it.")
    description: str | None = Field(default=None, max_length=4000, description="What is in it.")
    tags: list[Tag] | None = Field(default=None, max_length=50, description="Words to find it by.")


class ChangeDataset(DatasetChanges):
    """Rename or retag a dataset, named by its uid or its `id`."""

    dataset: str


class DeleteDataset(Message):
    """Delete a dataset, by its uid or its `id`."""

    dataset: str


class RemovedParts(Message):
    """What is gone with a dataset."""

    rows: int
    files: int = Field(description="Blobs: the rows, and the CSV made of them when it was downloaded.")
    bytes: int = Field(description="Size of these files.")


class DatasetDeleted(Message):
    """What `DELETE /api/datasets/{uid}` answers."""

    success: bool = True
    message: str
    uid: str
    removed: RemovedParts


class CountTokens(Message):
    """Token lengths of a dataset's rows by a model's tokenizer."""

    dataset: str
    model: str = Field(min_length=1, max_length=200)
    max_length: int = Field(default=DEFAULT_MAX_LENGTH, ge=1, le=10_000_000)


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
