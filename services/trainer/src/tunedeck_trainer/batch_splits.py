"""How the rows of an optimizer step are split into micro-batches, and what is tried when they do not fit."""

from typing import Any

from tunedeck_contracts.estimates import BatchSplit
from tunedeck_contracts.hyperparameters import Hyperparameters


def as_asked(settings: Hyperparameters) -> BatchSplit:
    """The split that the settings name."""
    return BatchSplit(
        micro_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
    )


def of_run(arguments: Any, model: Any) -> BatchSplit:
    """The split that transformers' arguments and the model have."""
    return BatchSplit(
        micro_batch_size=arguments.per_device_train_batch_size,
        gradient_accumulation_steps=arguments.gradient_accumulation_steps,
        gradient_checkpointing=model.is_gradient_checkpointing,
    )


def smaller(split: BatchSplit, reason: str) -> BatchSplit | None:
    """The next split that needs less memory for the same rows a step; None when nothing is left.

    The micro-batch is halved first, to the next size that divides the step evenly: the work stays the same,
    on a CPU its time too. Activations are computed again last, for that adds a forward pass to each step: a
    third of the work of full training, and half of LoRA's.
    """
    rows = split.micro_batch_size * split.gradient_accumulation_steps
    if split.micro_batch_size > 1:
        most = split.micro_batch_size // 2
        size = next(size for size in range(most, 0, -1) if rows % size == 0)
        halved = {"micro_batch_size": size, "gradient_accumulation_steps": rows // size, "reason": reason}
        return split.model_copy(update=halved)
    if not split.gradient_checkpointing:
        return split.model_copy(update={"gradient_checkpointing": True, "reason": reason})
    return None


def finest(split: BatchSplit) -> BatchSplit:
    """The last that `smaller` comes to."""
    rows = split.micro_batch_size * split.gradient_accumulation_steps
    return BatchSplit(micro_batch_size=1, gradient_accumulation_steps=rows, gradient_checkpointing=True)


def applied(split: BatchSplit, settings: Hyperparameters) -> Hyperparameters:
    """The settings with this split in place of their own."""
    return settings.model_copy(
        update={
            "batch_size": split.micro_batch_size,
            "gradient_accumulation_steps": split.gradient_accumulation_steps,
        }
    )
