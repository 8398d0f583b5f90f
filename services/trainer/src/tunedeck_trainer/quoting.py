"""From the pace of a few micro-batches to what a whole run takes, with the bounds of that."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tunedeck_contracts.estimates import Estimate, Range
from tunedeck_trainer.loop import TokenTrainer

# What is not measured: batches of other lengths, checkpoints, points, and what else the machine does.
_SECONDS = (0.8, 1.5)
# Later micro-batches may lie less densely in memory than the longest did.
_MEMORY = (0.95, 1.2)
# A reading of one moment, for a run of hours.
_POWER = (0.5, 1.2)
_HOUR = 3600.0


@dataclass(frozen=True)
class Work:
    """What a run computes. Tokens are those of its longest possible course, to its last step."""

    steps: int
    evaluations: int
    padded_tokens: float
    read_tokens: float
    padded_validation_tokens: int
    fewest_steps: int
    """Fewer than `steps` where it may end early."""


@dataclass(frozen=True)
class Measured:
    """What the probe measured. Paces are seconds a padded token: the quickest, the usual, the slowest."""

    device: str
    second_per_token: tuple[float, float, float]
    forward_share: float
    optimizer_seconds: float
    elapsed: float
    peak: int
    free: int
    watts: float | None


def work_of(trainer: TokenTrainer, patience: int | None) -> Work:
    """The work of this trainer's run, by the lengths and the order of its own rows.

    `patience`: evaluations in a row without a lower loss after which it ends.
    """
    arguments = trainer.args
    size, accumulation = arguments.train_batch_size, arguments.gradient_accumulation_steps
    lengths = [len(row["input_ids"]) for row in trainer.train_dataset]
    ordered = [lengths[index] for index in trainer._get_train_sampler()]
    steps_an_epoch = math.ceil(len(lengths) / (size * accumulation))
    steps = (
        arguments.max_steps
        if arguments.max_steps > 0
        else math.ceil(arguments.num_train_epochs) * steps_an_epoch
    )
    epochs = steps / steps_an_epoch
    return Work(
        steps=steps,
        evaluations=1 + math.ceil(steps / arguments.eval_steps),
        padded_tokens=epochs * _padded(ordered, size),
        read_tokens=epochs * sum(lengths),
        padded_validation_tokens=_padded(
            [len(row["input_ids"]) for row in trainer.eval_dataset], arguments.eval_batch_size
        ),
        fewest_steps=min(steps, patience * int(arguments.eval_steps)) if patience is not None else steps,
    )


def measured(found: Measured, work: Work) -> Estimate:
    """The quote of a run whose micro-batches were timed."""
    seconds = tuple(
        found.elapsed + share * _rest(found, work, pace)
        for pace, share in zip(
            found.second_per_token,
            (_SECONDS[0] * work.fewest_steps / work.steps, 1.0, _SECONDS[1]),
            strict=True,
        )
    )
    low, expected, high = seconds
    return Estimate(
        device=found.device,
        seconds=Range(low=low, expected=expected, high=high),
        peak_memory_bytes=_around(found.peak, _MEMORY),
        tokens=Range(
            low=work.read_tokens * work.fewest_steps / work.steps,
            expected=work.read_tokens,
            high=work.read_tokens,
        ),
        energy_watt_hours=_energy(found.watts, expected - found.elapsed),
        free_memory_bytes=found.free,
        basis=(
            "Measured before the first step: time by a micro-batch of rows of middle length, memory by the one "
            "of the longest rows. Time from 0.8 times the quickest to 1.5 times the slowest of both by their "
            "tokens, memory from 0.95 to 1.2 times; the low ends also of a run that stops early as soon as it may."
        ),
    )


def _rest(found: Measured, work: Work, pace: float) -> float:
    evaluating = work.evaluations * work.padded_validation_tokens * pace * found.forward_share
    return work.padded_tokens * pace + work.steps * found.optimizer_seconds + evaluating


def _energy(watts: float | None, seconds: float) -> Range | None:
    return _around(watts * seconds / _HOUR, _POWER) if watts is not None else None


def _around(expected: float, bounds: tuple[float, float]) -> Range:
    return Range(low=bounds[0] * expected, expected=expected, high=bounds[1] * expected)


def _padded(lengths: Sequence[int], size: int) -> int:
    """Tokens of all micro-batches with their padding."""
    batches = (lengths[start : start + size] for start in range(0, len(lengths), size))
    return sum(max(batch) * len(batch) for batch in batches)
