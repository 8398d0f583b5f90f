"""How long rows are in a model's tokens."""

from pydantic import Field

from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.message import Message

DEFAULT_MAX_LENGTH: int = Hyperparameters().max_length


class HistogramBar(Message):
    """How many rows have at least `low` and fewer than `high` tokens."""

    low: int
    high: int
    rows: int


class TokenLengths(Message):
    """Lengths in tokens over the counted rows; percentiles are lengths that a row has (nearest rank)."""

    mean: float
    p50: int
    p95: int
    max: int
    histogram: list[HistogramBar] = Field(description="At most 20 bars of one width, from 0 on.")


class TokenStatistics(Message):
    """Token lengths of a dataset or an upload.

    The plain text of the input and of the output is counted, each by itself; what a chat template
    and special tokens add in training is not.
    """

    model: str
    rows: int = Field(description="Rows that are trained on.")
    counted_rows: int = Field(description="Rows whose tokens were counted.")
    sampled: bool = Field(
        description="Whether only every n-th row was counted, because there are many; the same each time."
    )
    max_length: int = Field(description="Tokens after which training cuts a row.")
    over_max_length: int = Field(description="Counted rows whose input and output together are longer.")
    input: TokenLengths
    output: TokenLengths
    total: TokenLengths = Field(description="Input and output of a row together.")
