"""The training recipe, top to bottom: set up, evaluate, train, evaluate, save."""

import logging
import threading
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback
from transformers.utils import is_torch_tf32_available
from transformers.utils.logging import disable_progress_bar

from tunedeck_contracts.estimates import BatchSplit
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.jobs import Phase, Result
from tunedeck_trainer import batch_splits, data, model_files, row_tokens
from tunedeck_trainer.best_weights import BestWeights
from tunedeck_trainer.checkpointing import Checkpoints, History
from tunedeck_trainer.energy import EnergyMeter
from tunedeck_trainer.environment import environment
from tunedeck_trainer.failures import Cancelled, Paused
from tunedeck_trainer.loop import TokenTrainer
from tunedeck_trainer.memory_use import MemoryUse
from tunedeck_trainer.model_config import load_config, positions
from tunedeck_trainer.model_loading import check_method, prepare_model
from tunedeck_trainer.pipe import TUNED_FOLDER, PhaseChanged, Resumed, Spec, Tell, Wishes
from tunedeck_trainer.points import Points
from tunedeck_trainer.precision import compute_dtype, is_gpu
from tunedeck_trainer.probing import Probe, compute_activations_again
from tunedeck_trainer.ranks import ALONE, Ranks
from tunedeck_trainer.stop_after import StopAfter
from tunedeck_trainer.tokenizer_loading import load_tokenizer
from tunedeck_trainer.training_record import LOG, read_points
from tunedeck_trainer.tuned_files import Trained, save_record, save_tuned
from tunedeck_trainer.weight_sizes import check_room

log = logging.getLogger("tunedeck")

# transformers' names. Its other optimizers want packages of their own.
_OPTIMIZERS = {
    "adamw": "adamw_torch_fused",
    "sgd": "sgd",
    "adafactor": "adafactor",
    "adagrad": "adagrad",
    "rmsprop": "rmsprop",
}


def fine_tune(spec: Spec, folder: Path, tell: Tell, wishes: Wishes) -> Result:
    """Train as the run's settings say, and leave the adapter or the whole model in `folder/tuned`.

    Raises:
        Cancelled: the run was told to stop; nothing is saved.
        Paused: the run was told to pause; its state is in the newest checkpoint, if it has done a step.
        TornCheckpoint: the checkpoint to go on from cannot be used; nothing is trained.
        RunFailed: the model, the rows or the settings cannot be trained.
    """
    settings = spec.run.hyperparameters
    tell(PhaseChanged(phase=Phase.PREPARING))
    disable_progress_bar()
    set_seed(settings.seed)
    if spec.threads is not None:
        torch.set_num_threads(spec.threads)
    on_gpu = is_gpu(spec.device)
    ranks = Ranks.joined(on_gpu)
    told, wishes = wishes, ranks.follow(wishes)
    if spec.threads is None and ranks.count > 1 and not on_gpu:
        torch.set_num_threads(max(1, torch.get_num_threads() // ranks.count))
    check_method(settings, on_gpu)
    compute = compute_dtype(settings, on_gpu)
    history = History(folder / "points.jsonl", tell)
    energy = EnergyMeter(*(spec.devices or [spec.device]))
    points = Points(history, wishes.cancelled, energy, settings.early_stopping_patience)
    checkpoints = Checkpoints(spec, folder, history, wishes, ranks)

    model_folder = model_files.locate(spec.run.model, spec.models_dir)
    tokenizer = load_tokenizer(model_folder)
    log.info("%s The loss counts the answer's tokens only.", row_tokens.form(tokenizer))
    prepared = data.prepare(spec.rows_file, tokenizer, settings, positions(load_config(model_folder)))
    for warning in prepared.warnings:
        log.warning(warning)
    _stop_if(wishes, ranks)
    memory = MemoryUse(on_gpu, ranks.count)
    check_room(model_folder, settings, compute, memory.free)
    model = prepare_model(model_folder, settings, compute, on_gpu)
    _stop_if(wishes, ranks)
    log.info(
        "Training (%s, %s) on %s in %s: %d rows, %d for validation.",
        settings.method,
        settings.optimizer,
        "GPU" if on_gpu else "CPU",
        str(compute).removeprefix("torch."),
        len(prepared.train),
        len(prepared.validation),
    )
    progress = checkpoints.opened(spec.resume, model) if spec.resume is not None else None

    def trainer_of(split: BatchSplit) -> TokenTrainer:
        if split.gradient_checkpointing:
            compute_activations_again(model)
        applied = batch_splits.applied(split, settings)
        arguments = training_arguments(applied, folder, on_gpu, compute, ranks.count)
        return build_trainer(
            model, tokenizer, prepared, arguments, points, wishes.cancelled, checkpoints, ranks
        )

    trainer = Probe(trainer_of, memory, energy, wishes).fitted(spec, tell, lambda: points.seconds)
    _stop_if(wishes, ranks)
    memory.forget_peak()

    if spec.run.stop_after_steps is not None:
        trainer.add_callback(StopAfter(spec.run.stop_after_steps))

    if progress is None or spec.resume is None:
        tell(PhaseChanged(phase=Phase.EVALUATING))
        trainer.evaluate()
        log.info("Validation loss before training: %.4f", points.validation_loss)
        _stop_if(wishes, ranks)
    else:
        points.go_on_from(progress)
        tell(Resumed())
        history.tell_again(spec.resume)
        log.info("Going on from the checkpoint after step %d.", history.iteration)

    tell(PhaseChanged(phase=Phase.TRAINING))
    try:
        trainer.train(str(spec.resume) if spec.resume is not None else None)
    except Cancelled:
        points.flush(trainer.state)
        raise
    if checkpoints.paused:
        raise Paused
    if wishes.cancelled.is_set():
        raise Cancelled
    tell(PhaseChanged(phase=Phase.SAVING))
    best = checkpoints.best
    _log_losses(points, best)
    best.put_into(model, trainer.state.global_step)
    result = Result(
        validation_loss_before=points.validation_loss_before,
        validation_loss_after=best.loss,
        validation_loss_last=points.validation_loss,
        best_step=best.step,
        train_rows=len(prepared.train),
        validation_rows=len(prepared.validation),
        truncated_rows=prepared.truncated_rows,
        trained_tokens=trainer.trained_tokens,
        seconds=round(points.seconds, 3),
        peak_memory_bytes=memory.peak,
        energy_watt_hours=energy.watt_hours,
    )
    ranks.part()
    if not ranks.is_first:
        return result
    trained = Trained(
        run=spec.run,
        result=result,
        split=batch_splits.of_run(trainer.args, model),
        environment=environment(settings.method, on_gpu, ranks.count),
        points=read_points(history.file),
        log_file=folder / LOG,
    )
    if spec.run.stop_after_steps is not None:
        save_record(folder / TUNED_FOLDER, trained)
    elif spec.run.model_saving.save_model:
        save_tuned(
            folder / TUNED_FOLDER,
            model,
            tokenizer,
            trained,
            base_folder=model_folder,
            held_out=prepared.validation,
            between=partial(_stop_if_cancelled, told),
        )
    return result


def build_trainer(
    model: Any,
    tokenizer: Any,
    prepared: data.Prepared,
    arguments: TrainingArguments,
    points: Points,
    cancelled: threading.Event,
    checkpoints: Checkpoints | None = None,
    ranks: Ranks = ALONE,
) -> TokenTrainer:
    """The Trainer of this run, which logs each optimizer step to `points` and keeps its state in
    `checkpoints`."""
    trainer = TokenTrainer(
        cancelled=cancelled,
        points=points,
        checkpoints=checkpoints,
        ranks=ranks,
        model=model,
        args=arguments,
        train_dataset=_columns(prepared.train),
        eval_dataset=_columns(prepared.validation),
        processing_class=tokenizer,
        data_collator=partial(_collated, ranks=ranks),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def training_arguments(
    settings: Hyperparameters, folder: Path, on_gpu: bool, compute: torch.dtype, processes: int = 1
) -> TrainingArguments:
    """transformers' arguments for these hyperparameters; its batch is that of all processes together."""
    warmed_constant = settings.scheduler == "constant" and settings.warmup_steps > 0
    return TrainingArguments(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=settings.batch_size * processes,
        per_device_eval_batch_size=settings.batch_size * processes,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps if settings.max_steps is not None else -1,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant_with_warmup" if warmed_constant else settings.scheduler,
        warmup_steps=settings.warmup_steps,
        optim=_OPTIMIZERS[settings.optimizer],
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        eval_strategy="steps",
        eval_steps=settings.eval_steps,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        # The loss asks for no cache itself; this would be written into a whole model's configuration.
        use_cache=True,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["labels"],
        # Of the validation rows; the training rows come by EpochOrder.
        train_sampling_strategy="group_by_length",
        dataloader_pin_memory=on_gpu,
        use_cpu=not on_gpu,
        tf32=True if on_gpu and is_torch_tf32_available() else None,
        bf16=compute == torch.bfloat16,
        fp16=compute == torch.float16,
        seed=settings.seed,
        data_seed=settings.seed,
    )


def _columns(examples: list[row_tokens.Example]) -> Any:
    return [{"row": one.row, "input_ids": one.input_ids, "labels": one.labels} for one in examples]


def _collated(examples: list[dict[str, Any]], ranks: Ranks) -> dict[str, torch.Tensor]:
    """This process's share of a batch; its rows' numbers, and its tokens without the padding, are of all."""
    own = ranks.share(examples) or [_without_answer(examples[0])]
    return {
        **data.collate(own),
        "rows": torch.tensor([one["row"] for one in examples]),
        "tokens": torch.tensor(sum(len(one["input_ids"]) for one in examples)),
    }


def _without_answer(example: dict[str, Any]) -> dict[str, Any]:
    """A row that adds nothing to loss or gradient, for a process that has none of a last small batch."""
    return {**example, "labels": [row_tokens.IGNORED] * len(example["labels"])}


def _log_losses(points: Points, best: BestWeights) -> None:
    log.info("Validation loss after training: %.4f", points.validation_loss)
    log.info("The tuned model is that of step %s, with the lowest: %.4f", best.step, best.loss)
    if best.loss >= points.validation_loss_before:
        log.warning(
            "No step's validation loss was below the base model's, which is %.4f: a lower learning rate or "
            "more rows may help.",
            points.validation_loss_before,
        )


def _stop_if_cancelled(wishes: Wishes) -> None:
    if wishes.cancelled.is_set():
        raise Cancelled


def _stop_if(wishes: Wishes, ranks: Ranks) -> None:
    ranks.hear()
    _stop_if_cancelled(wishes)
    if wishes.paused.is_set():
        raise Paused
