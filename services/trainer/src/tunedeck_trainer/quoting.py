"""From the pace of a few micro-batches to what a whole run takes, with the bounds of that."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tunedeck_contracts.estimates import Estimate, Range
from tunedeck_contracts.hyperparameters import Hyperparameters

# What two micro-batches draw, for a run of hours.
_POWER = (0.5, 1.2)
_HOUR = 3600.0


@dataclass(frozen=True)
class Pass:
    """Seconds of one micro-batch, and of the optimizer after it; `tokens` with the padding."""

    tokens: int
    forward: float
    backward: float
    optimizer: float

    @property
    def pace(self) -> float:
        """Seconds a token, without the optimizer."""
        return (self.forward + self.backward) / self.tokens


@dataclass(frozen=True)
class Work:
    """What a run computes. Tokens are those of its longest possible course, to its last step; padded ones are
    those of one of its processes."""

    steps: int
    fewest_steps: int
    """Fewer than `steps` where it may end early."""
    evaluations: int
    padded_tokens: float
    read_tokens: float
    padded_validation_tokens: float

    def shared_among(self, processes: int) -> "Work":
        """What each of several processes computes of it."""
        return replace(
            self,
            padded_tokens=self.padded_tokens / processes,
            padded_validation_tokens=self.padded_validation_tokens / processes,
        )


@dataclass(frozen=True)
class Grounds:
    """Where a quote comes from, and how far from what was measured its bounds are, as factors."""

    sentence: str
    seconds: tuple[float, float]
    memory: tuple[float, float]


@dataclass(frozen=True)
class Measured:
    """The micro-batches of the longest and of middle rows; bytes at most, and those that there may be; what
    the run's GPUs draw, where they tell."""

    longest: Pass
    middle: Pass
    peak: int
    available: int
    watts: float | None = None


def work_of(settings: Hyperparameters, ordered: Sequence[int], validation: Sequence[int]) -> Work:
    """The work of a run by the lengths of its rows, those of training in the order of its first epoch.

    An epoch does not begin with rows of average length: what is read of a last one in part is summed as such.
    """
    rows_a_step = settings.batch_size * settings.gradient_accumulation_steps
    steps_an_epoch = math.ceil(len(ordered) / rows_a_step)
    steps = settings.max_steps or settings.epochs * steps_an_epoch
    epochs, more_steps = divmod(steps, steps_an_epoch)
    more = ordered[: more_steps * rows_a_step]
    patience = settings.early_stopping_patience
    return Work(
        steps=steps,
        fewest_steps=min(steps, patience * settings.eval_steps) if patience is not None else steps,
        evaluations=1 + math.ceil(steps / settings.eval_steps),
        padded_tokens=epochs * _padded(ordered, settings.batch_size) + _padded(more, settings.batch_size),
        read_tokens=epochs * sum(ordered) + sum(more),
        padded_validation_tokens=_padded(validation, settings.batch_size),
    )


def quoted(device: str, found: Measured, work: Work, grounds: Grounds, elapsed: float) -> Estimate:
    """The quote. `elapsed`: the seconds of preparation, which are over."""
    paces = (found.middle.pace, found.longest.pace)
    low, high = grounds.seconds
    shortest = work.fewest_steps / work.steps
    seconds = Range(
        low=low * shortest * _seconds(found, work, min(paces)),
        expected=_seconds(found, work, found.middle.pace),
        high=high * _seconds(found, work, max(paces)),
    )
    return Estimate(
        device=device,
        seconds=Range(
            low=elapsed + seconds.low, expected=elapsed + seconds.expected, high=elapsed + seconds.high
        ),
        step_seconds=Range(
            low=low * _step_seconds(found, work, min(paces)),
            expected=_step_seconds(found, work, found.middle.pace),
            high=high * _step_seconds(found, work, max(paces)),
        ),
        peak_memory_bytes=_around(found.peak, grounds.memory),
        tokens=Range(low=work.read_tokens * shortest, expected=work.read_tokens, high=work.read_tokens),
        energy_watt_hours=_energy(found.watts, seconds) if found.watts is not None else None,
        available_memory_bytes=found.available,
        fits=found.peak <= found.available,
        basis=grounds.sentence,
    )


def _energy(watts: float, seconds: Range) -> Range:
    """Watt-hours of a run that takes so long."""
    low, high = _POWER
    hours = watts / _HOUR
    return Range(
        low=low * hours * seconds.low, expected=hours * seconds.expected, high=high * hours * seconds.high
    )


def _seconds(found: Measured, work: Work, pace: float) -> float:
    usual = found.middle
    evaluating = pace * usual.forward / (usual.forward + usual.backward)
    evaluations = work.evaluations * work.padded_validation_tokens * evaluating
    return work.steps * _step_seconds(found, work, pace) + evaluations


def _step_seconds(found: Measured, work: Work, pace: float) -> float:
    optimizer = min(found.middle.optimizer, found.longest.optimizer)
    return work.padded_tokens / work.steps * pace + optimizer


def _around(expected: float, bounds: tuple[float, float]) -> Range:
    return Range(low=bounds[0] * expected, expected=expected, high=bounds[1] * expected)


def _padded(lengths: Sequence[int], size: int) -> int:
    """Tokens of all micro-batches with their padding."""
    batches = (lengths[start : start + size] for start in range(0, len(lengths), size))
    return sum(max(batch) * len(batch) for batch in batches)
