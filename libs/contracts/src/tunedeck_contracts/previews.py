"""The first batch of a job, as its model will read it."""

from typing import Literal

from pydantic import Field

from tunedeck_contracts.message import Message

MOST_TOKENS = 16_384
"""Tokens in one answer, over all its rows."""

MOST_ROW_NUMBERS = 1000


class GetPreview(Message):
    """The preview of one job, whatever its state."""

    uid: str


class PreviewedToken(Message):
    """One token. The texts of a row's tokens, one after the other, are what the model reads."""

    id: int
    text: str = Field(
        description="Empty for a token that holds only a part of a character, which is then with the token "
        "that ends it."
    )
    trained: bool = Field(description="Whether the loss counts it.")


class PreviewedRow(Message):
    """One row of the batch, in the order of the batch."""

    row: int = Field(description="Number of the row in the dataset, from 1.")
    truncated: bool = Field(description="Whether it was longer than a row may be and was cut.")
    token_count: int = Field(description="Tokens that the model reads, without padding.")
    trained_token_count: int = Field(description="Those of them that the loss counts.")
    padding: int = Field(
        description="Tokens behind the row that fill it up to the longest of the batch; the model does not "
        "attend to them, and the loss does not count them."
    )
    tokens: list[PreviewedToken] = Field(
        description=f"From the first on; fewer than `token_count` where the answer has {MOST_TOKENS:,} "
        "tokens without the rest."
    )


class JobPreview(Message):
    """What `GET /api/jobs/{uid}/preview` answers: what a run of the job from its start reads first."""

    job_uid: str
    model: str
    revision: str
    dataset: str
    template: Literal["chat_template", "plain"] = Field(
        description="The model's own chat template, or a plain form because the model has none."
    )
    form: str = Field(description="How a row is written, in a sentence; of the plain form, spelled out.")
    batch_size: int = Field(
        description="Rows in one batch, as configured; this one has fewer where there are fewer. A run that "
        "lacks the memory reads the same rows in the same order in smaller batches: the job's `batchSplit`."
    )
    gradient_accumulation_steps: int = Field(description="Batches in one optimizer step.")
    max_length: int = Field(
        description="Tokens after which a row is cut; at the model's own length where that is lower."
    )
    seed: int = Field(description="Of the split and of the order of the rows.")
    train_rows: int
    validation_rows: int
    truncated_rows: int = Field(description="Rows of the whole dataset that are cut.")
    untrainable_rows: int = Field(
        description="Rows without an answer's token within `max_length`; they are left out of training."
    )
    untrainable_row_numbers: list[int] = Field(
        description=f"Their numbers, the first {MOST_ROW_NUMBERS:,} of them."
    )
    rows: list[PreviewedRow]
    tokens_left_out: int = Field(
        description=f"Tokens of the batch that are not shown: an answer has {MOST_TOKENS:,} at most."
    )
