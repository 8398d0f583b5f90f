"""Checkpoints: what a run has saved of itself, so that a later attempt goes on from there."""

from pydantic import Field

from tunedeck_contracts.message import Message, Timestamp


class StoredBlob(Message):
    """Where the bytes of a checkpoint are, and how to know them again."""

    id: str
    sha256: str
    bytes: int = Field(ge=0)


class Checkpoint(Message):
    """The state of a run after one optimizer step.

    The blob is a tar archive: weights, optimizer, scheduler, random states, position in the rows, every loss
    point up to the step, the weights with the lowest validation loss so far, and a manifest with the hash of
    each file.
    """

    step: int = Field(ge=1, description="Optimizer steps done.")
    iteration: int = Field(ge=0, description="The newest loss point that it carries.")
    fence: int = Field(description="Of the run that wrote it.")
    blob: StoredBlob
    validation_loss: float | None = Field(
        default=None,
        description="The newest evaluation's, in nats a trained token; null before the first after a step.",
    )
    created_at: Timestamp


class RegisterCheckpoint(Message):
    """A checkpoint is stored; from here on a resume may use it. The same one again changes nothing.

    The trainer has put the blob with a time to live: who registers it keeps it, and removes those it drops.
    """

    job_uid: str
    fence: int = Field(description="Of the run that asks; an older one is refused with `Fenced`.")
    checkpoint: Checkpoint


class CheckpointRegistered(Message):
    """The job knows the checkpoint."""


class ListCheckpoints(Message):
    """What a job can be resumed or retried from."""

    uid: str


class CheckpointList(Message):
    """The registered checkpoints of a job, newest first."""

    checkpoints: list[Checkpoint]
    best_step: int | None = Field(
        default=None,
        description="The step of the one with the lowest validation loss, which is never removed to make "
        "room for newer ones; null while none has one.",
    )
