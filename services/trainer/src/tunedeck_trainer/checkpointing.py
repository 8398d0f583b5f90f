"""Checkpoints inside the training process: when one is due, what it holds, and how a run goes on from it."""

import logging
import shutil
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_pt_utils import safe_globals

from tunedeck_contracts.hyperparameters import encode_uid
from tunedeck_contracts.message import Message, utc_now
from tunedeck_trainer import checkpoint_files as files
from tunedeck_trainer.best_weights import BestWeights
from tunedeck_trainer.checkpoint_files import CheckpointManifest, TornCheckpoint
from tunedeck_trainer.pipe import (
    CHECKPOINTS_FOLDER,
    CheckpointWritten,
    FromChild,
    PointMade,
    Spec,
    Tell,
    Wishes,
    decode,
)
from tunedeck_trainer.ranks import ALONE, Ranks
from tunedeck_trainer.trained_weights import check_weights, save_weights

if TYPE_CHECKING:
    from tunedeck_trainer.loop import TokenTrainer

log = logging.getLogger("tunedeck")

# Of the time between two checkpoints, writing one takes at most a tenth.
_REST_PER_WRITING = 10.0
_PACKAGES = ("torch", "transformers", "accelerate", "peft")


class Progress(Message):
    """What a run knows beside its weights, optimizer and random states."""

    validation_loss_before: float
    validation_loss: float
    lowest: float
    without_lower: int
    last_finite: float
    tokens: int
    trained_tokens: int
    seconds: float
    watt_hours: float | None = None
    best_step: int | None = None
    best_validation_loss: float | None = None


class History:
    """Hands on what is told, and keeps the loss points of it in a file."""

    def __init__(self, file: Path, tell: "Tell") -> None:
        self.file = file
        self._tell = tell
        self.iteration = 0

    def __call__(self, message: FromChild) -> None:
        """Tell one message."""
        if isinstance(message, PointMade):
            with self.file.open("ab") as lines:
                lines.write(message.to_json() + b"\n")
            self.iteration = message.point.iteration
        self._tell(message)

    def copy_to(self, file: Path) -> None:
        """Every point so far."""
        self.file.touch()
        shutil.copyfile(self.file, file)

    def tell_again(self, checkpoint: Path) -> None:
        """Tell and keep every point of a checkpoint; they are this run's now."""
        with (checkpoint / files.POINTS).open("rb") as lines:
            for line in lines:
                self(decode(line))


class Checkpoints(TrainerCallback):  # type: ignore[misc]
    """Writes one when it is due, and when a pause is wanted; then training stops there.

    After the last step none is written: the tuned model follows. Each carries the best weights so far.
    """

    def __init__(
        self, spec: Spec, folder: Path, history: History, wishes: Wishes, ranks: Ranks = ALONE
    ) -> None:
        self._spec = spec
        self._folder = folder / CHECKPOINTS_FOLDER
        self._history = history
        self._wishes = wishes
        self._save_steps = spec.run.hyperparameters.save_steps
        self._written_at = time.monotonic()
        self._writing_seconds = 0.0
        self._ranks = ranks
        self.best = BestWeights(folder, keeps=ranks.is_first)
        self.paused = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        control.should_save = state.global_step < state.max_steps and self._is_due(state.global_step)
        self._heed(state, control)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        model: Any = None,
        **_: Any,
    ) -> None:
        step = state.global_step
        self.best.judge(model, step, (metrics or {})["eval_loss"], is_last=step >= state.max_steps)
        if step > 0:
            self._heed(state, control)

    def _heed(self, state: TrainerState, control: TrainerControl) -> None:
        if state.global_step >= state.max_steps or self._wishes.cancelled.is_set():
            control.should_save = self.paused = False
        elif self.paused or self._wishes.paused.is_set():
            control.should_save = control.should_training_stop = self.paused = True

    def _is_due(self, step: int) -> bool:
        if self._save_steps is not None:
            return step % self._save_steps == 0
        rest = max(self._spec.checkpoint_seconds, _REST_PER_WRITING * self._writing_seconds)
        return self._ranks.as_first(time.monotonic() - self._written_at >= rest)

    def write(self, trainer: "TokenTrainer", progress: Progress) -> None:
        """Keep the state of the run as it is now.

        What cannot be written costs the checkpoint, not the run: the former checkpoints are still there. Only
        the checkpoint of a pause has to be written.
        """
        if not self._ranks.is_first:
            return
        began = time.monotonic()
        draft = self._folder / "draft"
        try:
            self._write(trainer, progress, draft)
        except (OSError, SafetensorError, RuntimeError) as error:
            shutil.rmtree(draft, ignore_errors=True)
            if self.paused:
                raise
            log.warning("The checkpoint after step %d was not written: %s", trainer.state.global_step, error)
        self._written_at = time.monotonic()
        self._writing_seconds = self._written_at - began

    def _write(self, trainer: "TokenTrainer", progress: Progress, draft: Path) -> None:
        step = trainer.state.global_step
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        save_weights(trainer.model, draft / files.WEIGHTS)
        self.best.copy_to(draft, step)
        trainer._save_optimizer_and_scheduler(str(draft))
        trainer._save_scaler(str(draft))
        trainer._save_rng_state(str(draft))
        trainer.state.save_to_json(str(draft / files.TRAINER_STATE))
        self._history.copy_to(draft / files.POINTS)
        judged = self.best.step is not None
        best = {"best_step": self.best.step, "best_validation_loss": self.best.loss if judged else None}
        (draft / files.PROGRESS).write_bytes(progress.model_copy(update=best).to_json())
        manifest = self._manifest(step)
        files.publish(draft, self._folder / str(step), manifest)
        self._history(
            CheckpointWritten(
                step=step,
                iteration=self._history.iteration,
                validation_loss=progress.validation_loss if judged else None,
                created_at=manifest.created_at,
            )
        )

    def _manifest(self, step: int) -> CheckpointManifest:
        run = self._spec.run
        return CheckpointManifest(
            step=step,
            settings=encode_uid(run.hyperparameters),
            base_model=run.model.uid,
            base_revision=run.model.revision,
            rows_sha256=run.dataset.rows_sha256,
            packages={name: version(name) for name in _PACKAGES},
            device=self._spec.device.partition(":")[0],
            threads=torch.get_num_threads(),
            processes=self._ranks.count,
            created_at=utc_now(),
        )

    def opened(self, folder: Path, model: Any) -> Progress:
        """Look through a checkpoint before anything of it is used, and take over its best weights.

        Raises:
            TornCheckpoint: it is not whole, not this run's, or cannot be loaded.
        """
        manifest = files.verified(folder)
        self._check_kinship(manifest)
        check_weights(folder / files.WEIGHTS, model)
        for name in (files.OPTIMIZER, files.SCHEDULER, files.RANDOM_STATES):
            _load(folder / name)
        try:
            progress = Progress.model_validate_json((folder / files.PROGRESS).read_bytes())
        except ValueError as error:
            raise TornCheckpoint(f"{files.PROGRESS} cannot be read: {error}") from error
        if progress.best_step is not None and progress.best_validation_loss is not None:
            self.best.go_on_from(
                folder, model, manifest.step, progress.best_step, progress.best_validation_loss
            )
        return progress

    def _check_kinship(self, manifest: CheckpointManifest) -> None:
        ours = self._manifest(manifest.step)
        for what in ("settings", "base_model", "base_revision", "rows_sha256", "processes"):
            if getattr(manifest, what) != getattr(ours, what):
                raise TornCheckpoint(f"It was made with another {what}: {getattr(manifest, what)!r}.")
        changed = [name for name in ours.packages if manifest.packages.get(name) != ours.packages[name]]
        for name in changed:
            before, now = manifest.packages.get(name, "0"), ours.packages[name]
            if before.split(".")[0] != now.split(".")[0]:
                raise TornCheckpoint(f"It was made with {name} {before}; here is {now}.")
        if changed or (manifest.device, manifest.threads) != (ours.device, ours.threads):
            log.warning(
                "The checkpoint was made with other versions (%s), on another device or with other threads: "
                "what follows may differ in rounding from a run that never stopped.",
                ", ".join(changed) or "none",
            )


def _load(file: Path) -> None:
    try:
        with safe_globals():
            torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        # torch and pickle raise what they like; here each of them means the same.
        raise TornCheckpoint(f"{file.name} cannot be read: {error!r}") from error
