"""transformers' Trainer with the loss per token, and evaluations that can be cancelled."""

import logging
import math
import threading
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerControl

from tunedeck_trainer.checkpoint_files import WEIGHTS
from tunedeck_trainer.checkpointing import Checkpoints
from tunedeck_trainer.failures import Cancelled
from tunedeck_trainer.gated_kernel import use_gated_kernel
from tunedeck_trainer.lora_kernel import called_together, use_kernel
from tunedeck_trainer.norm_kernel import use_norm_kernel
from tunedeck_trainer.order import EpochOrder
from tunedeck_trainer.points import Points
from tunedeck_trainer.ranks import ALONE, InStep, Ranks
from tunedeck_trainer.rotary_kernel import use_rotary_kernel
from tunedeck_trainer.token_loss import LossSum, count_targets, fastest_loss_sum
from tunedeck_trainer.trained_weights import load_weights

log = logging.getLogger("tunedeck")


class TokenTrainer(Trainer):  # type: ignore[misc]
    """Losses are sums over trained tokens divided by their number in the whole optimizer step."""

    loss_is_scaled_for_ga = True
    control: TrainerControl

    def __init__(
        self,
        *,
        cancelled: threading.Event,
        points: Points,
        checkpoints: Checkpoints | None = None,
        ranks: Ranks = ALONE,
        **options: Any,
    ) -> None:
        first = [InStep(ranks)] if ranks.count > 1 else []
        callbacks = [*first, points] if checkpoints is None else [*first, points, checkpoints]
        super().__init__(callbacks=callbacks, **options)
        self._cancelled = cancelled
        self._points = points
        self._checkpoints = checkpoints
        self.ranks = ranks
        points.trainer = self
        use_norm_kernel(self.model)
        use_gated_kernel(self.model)
        use_rotary_kernel(self.model)
        with called_together(self.model) as groups:
            self._loss_sum = self._chosen_loss()
        use_kernel(self.model, groups)
        self.step_rows: list[int] = []
        self.nonfinite_rows: list[int] = []
        self.step_tokens = 0
        self.trained_tokens = 0

    def _chosen_loss(self) -> LossSum:
        # Two, that they can share what they begin with; the shortest, that they fit wherever anything does.
        rows = sorted([*self.train_dataset, *self.eval_dataset], key=lambda row: len(row["input_ids"]))
        shortest, longest = (
            # Not shared among the processes: all choose by the same.
            self._prepare_inputs(self.data_collator(sample, ranks=ALONE))
            for sample in (rows[:2], rows[-2:])
        )
        return fastest_loss_sum(self.model, shortest, longest)

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochOrder:
        lengths = [len(row["input_ids"]) for row in self.train_dataset]
        rows_a_step = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return EpochOrder(lengths, rows_a_step, self.args.data_seed)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self._checkpoints is not None:
            self._checkpoints.write(self, self._points.progress)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_weights(Path(resume_from_checkpoint) / WEIGHTS, self.model)

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> int:
        return max(1, int(self.ranks.total(sum(count_targets(batch) for batch in batch_samples))))

    def get_batch_samples(self, *arguments: Any, **options: Any) -> tuple[list[Any], Any]:
        """Count what the coming optimizer step holds."""
        batches, targets = super().get_batch_samples(*arguments, **options)
        self.step_rows = [row for batch in batches for row in batch["rows"].tolist()]
        self.step_tokens = sum(int(batch["tokens"]) for batch in batches)
        self.trained_tokens += targets
        return batches, targets

    def training_step(self, *arguments: Any, **options: Any) -> torch.Tensor:
        """Forward and backward of a micro-batch; the loss, and at the step's end the gradients, of all
        processes."""
        loss = super().training_step(*arguments, **options)
        if self.accelerator.sync_gradients:
            self.ranks.sum_gradients(self.model)
        return self.ranks.summed(loss)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The micro-batch's share of the step's mean loss; a scalar."""
        with self.accelerator.autocast():
            loss = self._loss_sum(model, inputs)
        if num_items_in_batch is None:
            num_items_in_batch = max(1, count_targets(inputs))
        loss = loss / num_items_in_batch
        return (loss, {}) if return_outputs else loss

    def evaluate(self, *arguments: Any, **options: Any) -> dict[str, float]:
        """Mean loss per trained token over all validation rows, whatever the batches.

        Raises:
            Cancelled: between two batches.
        """
        self.model.eval()
        self.ranks.draw_alike(self.args.seed + self.state.global_step)
        total, tokens = 0.0, 0
        self.nonfinite_rows = []
        with torch.no_grad():
            for batch in self.get_eval_dataloader():
                self.ranks.hear()
                if self._cancelled.is_set():
                    raise Cancelled
                inputs = self._prepare_inputs(batch)
                with self.accelerator.autocast():
                    loss = self._loss_sum(self.model, inputs).item()
                if not math.isfinite(loss) and not self.nonfinite_rows:
                    self.nonfinite_rows = sorted(batch["rows"].tolist())
                total += loss
                tokens += count_targets(inputs)
        metrics = {"eval_loss": self.ranks.total(total) / self.ranks.total(tokens)}
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics
