"""The training recipe, top to bottom: set up, evaluate, train, evaluate, save."""

import logging
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback
from transformers.utils.logging import disable_progress_bar

from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.jobs import Phase, Result
from tunedeck_trainer import data, model_files
from tunedeck_trainer.failures import Cancelled
from tunedeck_trainer.loop import Points, Tell, TokenTrainer
from tunedeck_trainer.model_loading import check_method, load_tokenizer, prepare_model
from tunedeck_trainer.pipe import TUNED_FOLDER, PhaseChanged, Spec
from tunedeck_trainer.precision import compute_dtype
from tunedeck_trainer.tuned_files import save_tuned

log = logging.getLogger("tunedeck")

# transformers' names. Its other optimizers want packages of their own.
_OPTIMIZERS = {
    "adamw": "adamw_torch",
    "sgd": "sgd",
    "adafactor": "adafactor",
    "adagrad": "adagrad",
    "rmsprop": "rmsprop",
}


def fine_tune(spec: Spec, folder: Path, tell: Tell, cancelled: threading.Event) -> Result:
    """Train as the run's settings say, and leave the adapter or the whole model in `folder/tuned`.

    Raises:
        Cancelled: the run was told to stop; nothing is saved.
        RunFailed: the model, the rows or the settings cannot be trained.
    """
    began = time.monotonic()
    settings = spec.run.hyperparameters
    tell(PhaseChanged(phase=Phase.PREPARING))
    disable_progress_bar()
    set_seed(settings.seed)
    if spec.threads is not None:
        torch.set_num_threads(spec.threads)
    on_gpu = spec.device.startswith("cuda") and torch.cuda.is_available()
    check_method(settings, on_gpu)
    compute = compute_dtype(settings, on_gpu)

    model_folder = model_files.locate(spec.run.model, spec.models_dir)
    tokenizer = load_tokenizer(model_folder)
    prepared = data.prepare(spec.rows_file, tokenizer, settings)
    for warning in prepared.warnings:
        log.warning(warning)
    _stop_if(cancelled)
    model = prepare_model(model_folder, settings, compute)
    _stop_if(cancelled)
    log.info(
        "Training (%s, %s) on %s in %s: %d rows, %d for validation.",
        settings.method,
        settings.optimizer,
        "GPU" if on_gpu else "CPU",
        str(compute).removeprefix("torch."),
        len(prepared.train),
        len(prepared.validation),
    )
    points = Points(tell, cancelled, settings.early_stopping_patience)
    arguments = training_arguments(settings, folder, on_gpu, compute)
    trainer = build_trainer(model, tokenizer, prepared, arguments, points, cancelled)

    tell(PhaseChanged(phase=Phase.EVALUATING))
    before = trainer.evaluate()["eval_loss"]
    log.info("Validation loss before training: %.4f", before)

    tell(PhaseChanged(phase=Phase.TRAINING))
    try:
        trainer.train()
    except Cancelled:
        points.flush(trainer.state)
        raise
    _stop_if(cancelled)
    log.info("Validation loss after training: %.4f", points.validation_loss)

    tell(PhaseChanged(phase=Phase.SAVING))
    result = Result(
        validation_loss_before=before,
        validation_loss_after=points.validation_loss,
        train_rows=len(prepared.train),
        validation_rows=len(prepared.validation),
        truncated_rows=prepared.truncated_rows,
        trained_tokens=trainer.trained_tokens,
        seconds=round(time.monotonic() - began, 3),
    )
    if spec.run.model_saving.save_model:
        save_tuned(folder / TUNED_FOLDER, model, tokenizer, spec.run, result, model_folder)
    return result


def build_trainer(
    model: Any,
    tokenizer: Any,
    prepared: data.Prepared,
    arguments: TrainingArguments,
    points: Points,
    cancelled: threading.Event,
) -> TokenTrainer:
    """The Trainer of this run, which logs each optimizer step to `points`."""
    trainer = TokenTrainer(
        cancelled=cancelled,
        model=model,
        args=arguments,
        train_dataset=_columns(prepared.train),
        eval_dataset=_columns(prepared.validation),
        processing_class=tokenizer,
        data_collator=partial(data.collate, pad_token_id=tokenizer.pad_token_id),
        callbacks=[points],
    )
    trainer.remove_callback(PrinterCallback)
    points.trainer = trainer
    return trainer


def training_arguments(
    settings: Hyperparameters, folder: Path, on_gpu: bool, compute: torch.dtype
) -> TrainingArguments:
    """transformers' arguments for these hyperparameters."""
    warmed_constant = settings.scheduler == "constant" and settings.warmup_steps > 0
    return TrainingArguments(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
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
        train_sampling_strategy="group_by_length",
        dataloader_pin_memory=on_gpu,
        use_cpu=not on_gpu,
        bf16=compute == torch.bfloat16,
        fp16=compute == torch.float16,
        seed=settings.seed,
        data_seed=settings.seed,
    )


def _columns(examples: list[data.Example]) -> Any:
    return [{"input_ids": one.input_ids, "labels": one.labels} for one in examples]


def _stop_if(cancelled: threading.Event) -> None:
    if cancelled.is_set():
        raise Cancelled
