"""What a job would take, before it is there.

The first layers of the model, with weights at random, are trained for a step on the job's own rows by the
code of a run, once one of them and once two. What the second adds is what each further layer adds, in time
and in memory; the layers are many and alike. The weights themselves are not needed. Where two layers do not
fit, or all would not by what two take, the batches are split as the probe of a run splits them.
"""

import gc
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig
from transformers.utils.logging import disable_progress_bar

from tunedeck_contracts.estimates import BatchSplit, Estimate
from tunedeck_contracts.failures import FailureCode
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_trainer import batch_splits, data, failures, model_files, probing, quoting
from tunedeck_trainer.energy import EnergyMeter
from tunedeck_trainer.estimate_question import EstimateQuestion
from tunedeck_trainer.failures import RunFailed
from tunedeck_trainer.memory_use import MemoryUse
from tunedeck_trainer.model_config import load_config, positions
from tunedeck_trainer.model_loading import add_lora, check_method, in_any_layer
from tunedeck_trainer.order import EpochOrder
from tunedeck_trainer.points import Points
from tunedeck_trainer.precision import compute_dtype, is_gpu, weight_dtype
from tunedeck_trainer.quoting import Grounds, Measured, Pass
from tunedeck_trainer.recipe import build_trainer, training_arguments
from tunedeck_trainer.side_answer import answer
from tunedeck_trainer.tokenizer_loading import load_tokenizer

# It was measured beside whatever the trainer does now, and carried from two layers to all of them.
_GROUNDS = Grounds(
    sentence="Computed from a step of the model's first two layers on the dataset's own rows, on the trainer "
    "as busy as it is now: what the second layer adds is what each further one adds. Time from 0.5 times the "
    "quicker to 2 times the slower of two micro-batches by their tokens, memory from 0.7 to 1.4 times; of "
    "qlora memory as if the weights had 16 bits. The probe of the job measures both.",
    seconds=(0.5, 2.0),
    memory=(0.7, 1.4),
)

_ADVICE = (
    "Lower max_length, choose a smaller model, or lora in place of full; if something trains here now, ask "
    "again when it is over."
)


def estimate(question: EstimateQuestion) -> Estimate:
    """The quote of a job with this plan, by this device.

    Raises:
        RunFailed: a run of the job would fail at the same place; with BAD_SETTINGS, no split of its batches
            fits.
    """
    began = time.monotonic()
    disable_progress_bar()
    settings = question.plan.hyperparameters
    if question.threads is not None:
        torch.set_num_threads(question.threads)
    on_gpu = is_gpu(question.device)
    check_method(settings, on_gpu)
    folder = model_files.locate_tokenizer(question.plan.model, question.models_dir)
    tokenizer = load_tokenizer(folder)
    config = load_config(folder)
    prepared = data.prepare(question.rows_file, tokenizer, settings, positions(config))
    elapsed = time.monotonic() - began
    lengths = [len(one.input_ids) for one in prepared.train]
    rows_a_step = settings.batch_size * settings.gradient_accumulation_steps * question.processes
    order = EpochOrder(lengths, rows_a_step, settings.seed)
    step = partial(
        _step,
        tokenizer=tokenizer,
        prepared=prepared,
        settings=in_any_layer(config, settings),
        on_gpu=on_gpu,
        energy=EnergyMeter(question.device),
    )
    measure = partial(_measured, step, config)
    asked = batch_splits.as_asked(settings)
    # How small 4 bits make the layers is not measured: they are here in 16.
    is_comparable = settings.method != "qlora"
    found, split = _fitted(measure, asked, MemoryUse(on_gpu), is_comparable)
    if found.watts is not None:
        found = replace(found, watts=found.watts * question.processes)
    of_each = batch_splits.applied(split, settings)
    work = quoting.work_of(
        of_each.model_copy(update={"batch_size": of_each.batch_size * question.processes}),
        [lengths[index] for index in order],
        [len(one.input_ids) for one in prepared.validation],
    ).shared_among(question.processes)
    grounds = _grounds(found, split, asked, is_comparable)
    quoted = quoting.quoted(question.device, found, work, grounds, elapsed)
    return quoted if is_comparable else quoted.model_copy(update={"fits": None})


def _grounds(found: Measured, split: BatchSplit, asked: BatchSplit, is_comparable: bool) -> Grounds:
    """With what was done that it fits, and whether that was enough."""
    told = [_GROUNDS.sentence]
    if split != asked:
        told.append(_told(split))
    if is_comparable and found.peak > found.available:
        told.append(f"By these figures it does not fit into what is free here now. {_ADVICE}")
    return replace(_GROUNDS, sentence=" ".join(told))


def _fitted(
    measure: Callable[[BatchSplit], Measured], asked: BatchSplit, memory: MemoryUse, is_comparable: bool
) -> tuple[Measured, BatchSplit]:
    """The first split that fits, or the smallest, and what was measured with it."""
    split, finest = asked, batch_splits.finest(asked)
    is_finest_tried = False
    while True:
        gc.collect()
        memory.release()
        found, reason = _tried(measure, split)
        if found is not None and (found.peak <= found.available or not is_comparable):
            return found, split
        if found is not None and not is_finest_tried:
            # Where the weights alone are too many, no search among the splits helps.
            is_finest_tried = True
            gc.collect()
            least, _ = _tried(measure, finest)
            if least is not None and least.peak > least.available:
                return least, finest
        smaller = batch_splits.smaller(split, reason)
        if smaller is None:
            break
        split = smaller
    if found is not None:
        return found, split
    # Tried in every way: to ask again alone helps nobody, as it may when there is no memory just now.
    raise RunFailed(
        FailureCode.BAD_SETTINGS,
        "The job does not fit into this trainer's free memory: not even the longest row alone with two "
        f"layers of the model ({reason}). {_ADVICE}",
    )


def _tried(measure: Callable[[BatchSplit], Measured], split: BatchSplit) -> tuple[Measured | None, str]:
    """What was measured, and why it does not fit if it does not."""
    try:
        return measure(split), "By two of its layers, all would take more memory than there is."
    except (MemoryError, RuntimeError) as error:
        if failures.of_exception(error).code is not FailureCode.OUT_OF_MEMORY:
            raise
        # The exception's frames hold what did not fit: only its words are kept.
        return None, next(iter(str(error).splitlines()), "") or type(error).__name__


def _told(split: BatchSplit) -> str:
    again = ", with activations computed again," if split.gradient_checkpointing else ""
    return (
        f"The batches did not fit as asked for: they are split into {split.gradient_accumulation_steps} "
        f"micro-batches of {split.micro_batch_size}{again} for each step."
    )


def _measured(step: Callable[..., Measured], config: PretrainedConfig, split: BatchSplit) -> Measured:
    first = step(_cut(config, 1), split)
    if config.num_hidden_layers < 2:
        return first
    # A trainer and its callbacks refer to each other: what is left of the first would count with the second.
    gc.collect()
    return extended(first, step(_cut(config, 2), split), config.num_hidden_layers)


def _cut(config: PretrainedConfig, layers: int) -> PretrainedConfig:
    """The configuration of the model's first layers."""
    cut = type(config).from_dict(config.to_dict())
    cut.num_hidden_layers = layers
    if getattr(cut, "layer_types", None):
        cut.layer_types = cut.layer_types[:layers]
    return cut


def _step(
    config: PretrainedConfig,
    split: BatchSplit,
    *,
    tokenizer: Any,
    prepared: data.Prepared,
    settings: Hyperparameters,
    on_gpu: bool,
    energy: EnergyMeter,
) -> Measured:
    compute = compute_dtype(settings, on_gpu)
    memory = MemoryUse(on_gpu)
    # What the step before has left in the allocator would count with this one's.
    memory.release()
    model = AutoModelForCausalLM.from_config(config, dtype=weight_dtype(settings, compute))
    if settings.method != "full":
        model = add_lora(model, settings)
    if split.gradient_checkpointing:
        probing.compute_activations_again(model)
    stopped = threading.Event()
    with TemporaryDirectory() as folder:
        applied = batch_splits.applied(split, settings)
        arguments = training_arguments(applied, Path(folder), on_gpu, compute)
        points = Points(lambda _: None, stopped, energy)
        trainer = build_trainer(model, tokenizer, prepared, arguments, points, stopped)
        with memory.limited():
            return probing.measured(trainer, memory, energy)


def extended(first: Measured, second: Measured, layers: int) -> Measured:
    """From one layer and two to all; the noise of a measure makes no layer quicker than none."""

    def all_of(one: float, two: float) -> float:
        return two + (layers - 2) * max(0.0, two - one)

    def whole(one: Pass, two: Pass) -> Pass:
        return Pass(
            tokens=two.tokens,
            forward=all_of(one.forward, two.forward),
            backward=all_of(one.backward, two.backward),
            optimizer=all_of(one.optimizer, two.optimizer),
        )

    return Measured(
        longest=whole(first.longest, second.longest),
        middle=whole(first.middle, second.middle),
        peak=int(all_of(first.peak, second.peak)),
        available=first.available,
        watts=second.watts,
    )


def main() -> int:
    """Answer on standard output what standard input asks; the exit status."""
    return answer(EstimateQuestion, estimate)
