"""What a training run tells: losses, resources, log lines."""

from pydantic import Field, FiniteFloat

from tunedeck_contracts.message import Message, Timestamp


class LossPoint(Message):
    """One logged point. Losses are mean cross-entropy per trained token, in nats."""

    iteration: int = Field(ge=1, description="Number of the point, from 1, one an optimizer step.")
    epoch: int
    step: int
    train_loss: FiniteFloat
    validation_loss: FiniteFloat = Field(
        description="The newest evaluation's; the first is before the first step."
    )
    learning_rate: FiniteFloat
    batch_size: int = Field(description="Rows in the optimizer step.")
    grad_norm: FiniteFloat = 0.0
    tokens: int = Field(default=0, description="Unpadded tokens seen so far.")
    tokens_per_second: FiniteFloat = Field(
        default=0.0, description="Unpadded tokens of this step by its time."
    )
    nonfinite: bool = Field(
        default=False, description="The loss was not finite; train_loss is the last finite one."
    )
    timestamp: Timestamp


class LossRecorded(Message):
    """One point of one run: stored under (job, fence, iteration)."""

    job_id: str
    fence: int
    training_mode: str
    total: int = Field(description="Points that the run will have.")
    total_steps: int
    total_epochs: int
    point: LossPoint


class GpuSample(Message):
    """One GPU at one moment. Gigabytes are 2**30 bytes; watts."""

    index: int
    name: str
    percent: FiniteFloat
    vram_used_gb: FiniteFloat
    vram_total_gb: FiniteFloat
    temp: FiniteFloat | None
    power_watts: FiniteFloat | None


class ResourceSample(Message):
    """What the hardware does. Gigabytes are 2**30 bytes; network in 10**6 bits a second.

    Without a GPU, `gpu_percent` and `vram_*` are 0.0 and `gpu_count` is 0; without a sensor, a
    temperature is None.
    """

    iteration: int = Field(description="The newest loss point when the sample was taken; 0 before the first.")
    cpu_percent: FiniteFloat
    ram_used_gb: FiniteFloat
    ram_total_gb: FiniteFloat
    gpu_percent: FiniteFloat
    vram_used_gb: FiniteFloat
    vram_total_gb: FiniteFloat
    disk_used_gb: FiniteFloat
    disk_total_gb: FiniteFloat
    gpu_temp: FiniteFloat | None
    cpu_temp: FiniteFloat | None
    network_in_mbps: FiniteFloat
    network_out_mbps: FiniteFloat
    gpu_count: int
    gpus: list[GpuSample] = []
    timestamp: Timestamp


class ResourcesRecorded(Message):
    """One sample: of a run under (job, fence, number), of an idle trainer under its own id with fence 0."""

    job_id: str
    fence: int
    number: int = Field(description="Counts the samples of this fence from 1.")
    sample: ResourceSample


class LogLine(Message):
    """One line that the training process wrote."""

    number: int = Field(description="Counts the lines of this fence from 1.")
    level: str
    text: str
    timestamp: Timestamp


class LogRecorded(Message):
    """One log line of one run."""

    job_id: str
    fence: int
    line: LogLine
