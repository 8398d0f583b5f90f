"""What the training process writes of a tuned model: adapter or weights, tokenizer, model card, its course,
manifest."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunedeck_contracts.artifacts import MANIFEST, Environment, Losses, Manifest, MergeAgreement
from tunedeck_contracts.estimates import BatchSplit
from tunedeck_contracts.jobs import Result
from tunedeck_contracts.message import utc_now
from tunedeck_contracts.runs import Run
from tunedeck_contracts.training import LossPoint
from tunedeck_trainer import row_tokens, training_record
from tunedeck_trainer.file_hashes import described, files_of
from tunedeck_trainer.merging import MERGED_FOLDER, save_merged
from tunedeck_trainer.model_card import CARD, licence_of, model_card
from tunedeck_trainer.row_tokens import Example
from tunedeck_trainer.whole_model import save_whole


@dataclass(frozen=True)
class Trained:
    """A run that has done its last step."""

    run: Run
    result: Result
    split: BatchSplit
    environment: Environment
    points: list[LossPoint]
    log_file: Path

    @property
    def losses(self) -> Losses:
        """As its manifest has them."""
        eval_steps = self.run.hyperparameters.eval_steps
        return training_record.losses_of(self.points, self.result.validation_loss_before, eval_steps)


def save_tuned(
    folder: Path,
    model: Any,
    tokenizer: Any,
    trained: Trained,
    *,
    base_folder: Path,
    held_out: list[Example],
    between: Callable[[], None],
) -> None:
    """Write the adapter, or the whole model, with all that belongs to it; the manifest last, so that it
    vouches for the rest.

    `held_out` are the validation rows; `between` is called between parts of long work, and may raise what
    ends it.
    """
    run = trained.run
    is_whole = run.hyperparameters.method == "full"
    if is_whole:
        save_whole(model, folder)
    else:
        _save_adapter(folder, model, run)
    tokenizer.save_pretrained(folder)
    merge = None
    if run.model_saving.save_merged and not is_whole:
        merge = save_merged(model, tokenizer, held_out, folder / MERGED_FOLDER, between)
    licence, form = licence_of(base_folder), row_tokens.form(tokenizer)
    card = model_card(run, trained.result, trained.losses, merge, licence, form)
    (folder / CARD).write_text(card, encoding="utf-8")
    save_record(folder, trained, merge)


def save_record(folder: Path, trained: Trained, merge: MergeAgreement | None = None) -> None:
    """Write log, curves, and the manifest of all that is in the folder by then."""
    folder.mkdir(parents=True, exist_ok=True)
    training_record.write_curves(trained.points, folder / training_record.CURVES)
    shutil.copyfile(trained.log_file, folder / training_record.LOG)
    run = trained.run
    manifest = Manifest(
        job_uid=run.job_uid,
        method=run.hyperparameters.method,
        base_model=run.model.uid,
        base_revision=run.model.revision,
        base_source=run.model.source,
        dataset_uid=run.dataset.uid,
        dataset_sha256=run.dataset.rows_sha256,
        created_at=utc_now(),
        packages=trained.environment.packages,
        hyperparameters=run.hyperparameters,
        batch_split=trained.split,
        environment=trained.environment,
        losses=trained.losses,
        result=trained.result,
        merge=merge,
        files=[described(folder, file) for file in files_of(folder)],
    )
    (folder / MANIFEST).write_bytes(manifest.to_json())


def _save_adapter(folder: Path, model: Any, run: Run) -> None:
    base = model.peft_config["default"]
    # The adapter names the model, not the folder it had on this machine.
    base.base_model_name_or_path = run.model.uid
    base.revision = run.model.revision if run.model.source == "hub" else None
    model.save_pretrained(folder, save_embedding_layers=False)
