"""Before the first step: does the longest batch fit, and what will the run take?

Micro-batches of real rows run forward and backward with the run's own loss and optimizer: the shortest
rows, to warm up and to have the optimizer's state there; the longest, for the memory; those of middle
length, for the time. Together they cost less than two steps of the longest micro-batch. The optimizer's
learning rate is zero, it is thrown away after, and the random states are put back, so that the run is bit
for bit the one that it were without.
"""

import gc
import logging
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel

from tunedeck_contracts.estimates import BatchSplit, Estimate, Probed
from tunedeck_contracts.failures import FailureCode
from tunedeck_contracts.jobs import Phase
from tunedeck_trainer import batch_splits, failures, quoting
from tunedeck_trainer.energy import EnergyMeter
from tunedeck_trainer.failures import Cancelled, RunFailed
from tunedeck_trainer.loop import TokenTrainer
from tunedeck_trainer.memory_use import MemoryUse
from tunedeck_trainer.pipe import PhaseChanged, RunProbed, Spec, Tell, Wishes
from tunedeck_trainer.quoting import Grounds, Measured, Pass

log = logging.getLogger("tunedeck")

_LONGEST_REASON = 300

Row = dict[str, Any]
"""Of the trainer's own dataset: `input_ids` and `labels`."""


# What is not measured: batches of other lengths, checkpoints, points, and what else the machine does. Later
# micro-batches may lie less densely in memory than the longest did.
_GROUNDS = Grounds(
    sentence="Measured before the first step: time by a micro-batch of rows of middle length, memory by the "
    "one of the longest rows. Time from 0.8 times the quicker to 1.5 times the slower of both by their "
    "tokens, memory from 0.95 to 1.2 times; the low ends are also of a run that stops as early as it may.",
    seconds=(0.8, 1.5),
    memory=(0.95, 1.2),
)


class Probe:
    """Tries splits of the batch, the given one first. `trainer_of` makes the run's trainer for a split."""

    def __init__(
        self,
        trainer_of: Callable[[BatchSplit], TokenTrainer],
        memory: MemoryUse,
        energy: EnergyMeter,
        wishes: Wishes,
    ) -> None:
        self._trainer_of = trainer_of
        self._memory = memory
        self._energy = energy
        self._wishes = wishes

    def fitted(self, spec: Spec, tell: Tell, elapsed: Callable[[], float]) -> TokenTrainer:
        """The trainer of the split that an earlier attempt of the job has found, or of the first that fits.

        What an earlier attempt has found is tried again where there is less memory than it said is needed.
        What is found here is told. `elapsed`: seconds of the run so far.

        Raises:
            RunFailed: not even one row at a time fits, with its activations computed again.
            Cancelled: between two tries.
        """
        asked = batch_splits.as_asked(spec.run.hyperparameters)
        known = spec.run.probed
        split = asked if known is None else known.split or asked
        trainer = self._trainer_of(split)
        if known is not None and trainer.ranks.all_agree(self._has_room(known.predicted, spec.device)):
            return trainer
        tell(PhaseChanged(phase=Phase.PROBING))
        while True:
            if self._wishes.cancelled.is_set():
                raise Cancelled
            found, reason = self._tried(trainer)
            if not trainer.ranks.all_agree(found is not None):
                found, reason = None, reason or "In another process of this run there was no memory left."
            if found is not None:
                predicted = self._quoted(trainer, found, split, spec, elapsed())
                changed = split if split != asked else None
                tell(RunProbed(probed=Probed(predicted=predicted, split=changed)))
                return trainer
            reason = f"{_words(split)} did not fit: {reason}"
            log.warning(reason)
            del trainer
            gc.collect()
            self._memory.release()
            smaller = batch_splits.smaller(split, reason)
            if smaller is None:
                break
            split = smaller
            trainer = self._trainer_of(split)
        raise RunFailed(
            FailureCode.OUT_OF_MEMORY,
            f"Not even the longest row alone fits. {reason} Lower max_length, choose a smaller model, or "
            "lora in place of full.",
        )

    def _has_room(self, predicted: Estimate, device: str) -> bool:
        is_alike = predicted.device.split(":")[0] == device.split(":")[0]
        return is_alike and predicted.peak_memory_bytes.expected <= self._memory.available

    def _tried(self, trainer: TokenTrainer) -> tuple[Measured | None, str]:
        """What was measured, or why it does not fit."""
        try:
            with self._memory.limited():
                return measured(trainer, self._memory, self._energy), ""
        except (MemoryError, RuntimeError) as error:
            if failures.of_exception(error).code is not FailureCode.OUT_OF_MEMORY:
                raise
            # The exception's frames hold what did not fit: only its words leave this function.
            first = next(iter(str(error).splitlines()), "") or type(error).__name__
            return None, first[:_LONGEST_REASON]

    def _quoted(
        self, trainer: TokenTrainer, found: Measured, split: BatchSplit, spec: Spec, elapsed: float
    ) -> Estimate:
        lengths = [len(row["input_ids"]) for row in trainer.train_dataset]
        ordered = [lengths[index] for index in trainer._get_train_sampler()]
        validation = [len(row["input_ids"]) for row in trainer.eval_dataset]
        applied = batch_splits.applied(split, spec.run.hyperparameters)
        settings = applied.model_copy(update={"batch_size": trainer.args.train_batch_size})
        work = quoting.work_of(settings, ordered, validation).shared_among(trainer.ranks.count)
        return quoting.quoted(spec.device, found, work, _GROUNDS, elapsed)


def compute_activations_again(model: Any) -> None:
    """Have the model keep each layer's input alone, and compute the rest once more in the backward pass."""
    causal = model.get_base_model() if isinstance(model, PeftModel) else model
    causal.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})


def micro_batches(rows: Sequence[Row], size: int) -> tuple[Sequence[Row], Sequence[Row], Sequence[Row]]:
    """The rows of the shortest, the longest and a middle micro-batch of this size."""
    ordered = sorted(rows, key=lambda row: len(row["input_ids"]))
    middle = max(0, (len(ordered) - size) // 2)
    return ordered[:size], ordered[-size:], ordered[middle : middle + size]


def measured(trainer: TokenTrainer, memory: MemoryUse, energy: EnergyMeter) -> Measured:
    """Time, memory and power of the trainer's micro-batches, of which nothing is left."""
    available = memory.available
    batches = micro_batches(trainer.train_dataset, trainer.args.train_batch_size)
    with _random_states_kept(trainer.args.device), _throwaway_optimizer(trainer) as optimizer:
        memory.forget_peak()
        _pass(trainer, optimizer, batches[0])
        energy.lap()
        longest, middle = [_pass(trainer, optimizer, rows) for rows in batches[1:]]
        watts = energy.lap()
    return Measured(longest=longest, middle=middle, peak=memory.peak, available=available, watts=watts)


def _pass(trainer: TokenTrainer, optimizer: torch.optim.Optimizer, rows: Sequence[Row]) -> Pass:
    if trainer.args.gradient_accumulation_steps == 1:
        trainer.model.zero_grad(set_to_none=True)
    clock = _Clock(trainer.args.device)
    trainer.model.train()
    inputs = trainer._prepare_inputs(trainer.data_collator(rows))
    loss = trainer.compute_loss(trainer.model, inputs)
    forward = clock.lap()
    loss.backward()
    backward = clock.lap()
    norm = torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), trainer.args.max_grad_norm)
    # Zero times what is not finite is not zero: then the weights would change.
    if math.isfinite(norm.item()):
        optimizer.step()
    # Of a run's several processes each computes its share, and pads it to its own longest row.
    own = trainer.ranks.share(list(rows)) or rows[:1]
    tokens = len(own) * max(len(row["input_ids"]) for row in own)
    return Pass(tokens, forward, backward, clock.lap())


@contextmanager
def _throwaway_optimizer(trainer: TokenTrainer) -> Iterator[torch.optim.Optimizer]:
    """The run's optimizer, whose steps change nothing: what it adds to a weight is its rate's multiple."""
    optimizer = trainer.create_optimizer()
    trainer.optimizer = None
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    try:
        yield optimizer
    finally:
        trainer.model.zero_grad(set_to_none=True)


@contextmanager
def _random_states_kept(device: torch.device) -> Iterator[None]:
    python = random.getstate()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(python)


class _Clock:
    """Seconds between laps; a GPU is waited for."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._at = self._now()

    def lap(self) -> float:
        before, self._at = self._at, self._now()
        return self._at - before

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def _words(split: BatchSplit) -> str:
    again = ", activations computed again" if split.gradient_checkpointing else ""
    return f"A micro-batch of {split.micro_batch_size}{again}"
