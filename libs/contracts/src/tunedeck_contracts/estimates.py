"""What a job is expected to take, what it took, and how its batches are split so that they fit."""

from pydantic import Field

from tunedeck_contracts.message import CamelMessage


class Range(CamelMessage):
    """A quoted figure: the expected value, and between which bounds it is likely to be."""

    low: float
    expected: float
    high: float


class Estimate(CamelMessage):
    """A quote for a whole job."""

    device: str = Field(description="'cpu', or 'cuda:0' and so on: on what it was computed or measured.")
    seconds: Range = Field(
        description="From the start of the preparation to the end of the last step, as `result.seconds`."
    )
    step_seconds: Range | None = Field(
        default=None, description="Of one optimizer step, without evaluations; null in estimates of before."
    )
    peak_memory_bytes: Range = Field(
        description="Of the training process on a CPU (resident), of the GPU (reserved) on a GPU."
    )
    tokens: Range = Field(description="Tokens that training reads, over all its steps, without padding.")
    energy_watt_hours: Range | None = Field(
        default=None, description="Of the GPU; null where nothing tells the power."
    )
    available_memory_bytes: int = Field(
        description="What the training process may have of it. Where the peak is above, the probe splits the "
        "batches further."
    )
    fits: bool | None = Field(
        default=None,
        description="Whether the expected peak is within what is available, with the batches split as the "
        "basis says; null where that is not known (qlora, before it is probed).",
    )
    basis: str = Field(description="Where the figures and their bounds come from, in a sentence or two.")


class Actual(CamelMessage):
    """What the job really took: time and energy of all its attempts, each as far as the next one went on
    from it, and of the job from whose checkpoint it was retried; memory of the attempt that completed it."""

    seconds: float
    peak_memory_bytes: int | None = Field(default=None, description="As in the estimate.")
    energy_watt_hours: float | None = None


class JobEstimate(CamelMessage):
    """Predicted against actual."""

    predicted: Estimate | None = Field(
        default=None, description="By the probe before the first step; null before it."
    )
    actual: Actual | None = Field(default=None, description="Of a completed job.")


class BatchSplit(CamelMessage):
    """How the rows of an optimizer step are split so that they fit; their number is as it was asked for."""

    micro_batch_size: int = Field(ge=1, description="Rows that are computed at once.")
    gradient_accumulation_steps: int = Field(ge=1, description="Micro-batches in one optimizer step.")
    gradient_checkpointing: bool = Field(
        default=False, description="Whether activations are computed again in the backward pass, not kept."
    )
    reason: str = Field(default="", max_length=500, description="Why it is not as it was asked for.")

    def is_finer_than(self, other: "BatchSplit") -> bool:
        """Whether it takes less memory than another split of the same rows."""
        if self.micro_batch_size != other.micro_batch_size:
            return self.micro_batch_size < other.micro_batch_size
        return self.gradient_checkpointing and not other.gradient_checkpointing


class Probed(CamelMessage):
    """What the probe of a run found: what it will take, and the split where it had to be changed."""

    predicted: Estimate
    split: BatchSplit | None = None
