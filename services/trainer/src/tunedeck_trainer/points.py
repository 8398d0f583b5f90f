"""A loss point for each step of a run, and when a run stops at one."""

import logging
import math
import threading
import time
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunedeck_contracts.failures import FailureCode
from tunedeck_contracts.jobs import Phase
from tunedeck_contracts.message import utc_now
from tunedeck_contracts.training import LossPoint
from tunedeck_trainer.checkpointing import Progress
from tunedeck_trainer.energy import EnergyMeter
from tunedeck_trainer.failures import RunFailed
from tunedeck_trainer.pipe import PhaseChanged, PointMade, Tell

if TYPE_CHECKING:
    from tunedeck_trainer.loop import TokenTrainer

log = logging.getLogger("tunedeck")


class Points(TrainerCallback):  # type: ignore[misc]
    """Makes a loss point of each optimizer step, with the newest evaluation; stops at a step's boundary.

    `patience`: evaluations in a row without a lower loss after which it stops; None for never.
    """

    def __init__(
        self, tell: Tell, cancelled: threading.Event, energy: EnergyMeter, patience: int | None = None
    ) -> None:
        self._tell = tell
        self._cancelled = cancelled
        self._energy = energy
        self._patience = patience
        self._lowest = math.inf
        self._without_lower = 0
        self._pending: dict[str, Any] | None = None
        self._began = 0.0
        self._seconds = 0.0
        self._tokens = 0
        self._last_finite = 0.0
        self._went_on_at = time.monotonic()
        self._seconds_before = 0.0
        self.validation_loss_before = math.nan
        self.validation_loss = math.nan
        self.trainer: TokenTrainer

    @property
    def progress(self) -> Progress:
        """What a resumed run has to know of this one."""
        return Progress(
            validation_loss_before=self.validation_loss_before,
            validation_loss=self.validation_loss,
            lowest=self._lowest,
            without_lower=self._without_lower,
            last_finite=self._last_finite,
            tokens=self._tokens,
            trained_tokens=self.trainer.trained_tokens,
            seconds=self.seconds,
            watt_hours=self._energy.watt_hours,
        )

    @property
    def seconds(self) -> float:
        """Since the run began, without the time between its attempts."""
        return self._seconds_before + time.monotonic() - self._went_on_at

    def go_on_from(self, progress: Progress) -> None:
        """Be as far as a checkpoint was."""
        self.validation_loss_before = progress.validation_loss_before
        self.validation_loss = progress.validation_loss
        self._lowest = progress.lowest
        self._without_lower = progress.without_lower
        self._last_finite = progress.last_finite
        self._tokens = progress.tokens
        self._seconds_before = progress.seconds
        self._energy.go_on_from(progress.watt_hours)
        self.trainer.trained_tokens = progress.trained_tokens

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._began = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._seconds = time.monotonic() - self._began
        if self._cancelled.is_set():
            control.should_training_stop = True
            control.should_evaluate = False
        elif state.global_step >= state.max_steps:
            control.should_evaluate = True
        control.should_log = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        if logs is None or "loss" not in logs:
            return
        # The points have all of it; here it would only grow.
        state.log_history.clear()
        self._pending = logs
        # In fp16 a gradient that overflows is how its scale is found: the step is left out, not the run.
        finite = math.isfinite(logs["loss"]) and (args.fp16 or math.isfinite(logs.get("grad_norm", 0.0)))
        if control.should_evaluate and finite:
            self._tell(PhaseChanged(phase=Phase.EVALUATING))
            return
        self.flush(state, nonfinite=not finite)
        if not finite:
            rows = ", ".join(map(str, sorted(self.trainer.step_rows)))
            at = f"step {state.global_step}, which trained on the rows {rows}"
            raise RunFailed(FailureCode.NOT_FINITE, f"The loss or its gradient was not finite at {at}.")

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        loss = (metrics or {})["eval_loss"]
        if not math.isfinite(loss):
            self.flush(state)
            when = f"after step {state.global_step}" if state.global_step else "before the first step"
            # Of a run on several devices each knows its own.
            rows = ", ".join(map(str, self.trainer.nonfinite_rows))
            among = f", in the batch of the rows {rows}" if rows else ""
            raise RunFailed(
                FailureCode.NOT_FINITE, f"The loss of the validation rows was not finite {when}{among}."
            )
        if state.global_step == 0:
            self.validation_loss_before = loss
        self.validation_loss = loss
        self._count(loss)
        is_over = self._patience is not None and self._without_lower >= self._patience
        if is_over and state.global_step < state.max_steps:
            log.info(
                "Stopped early after step %d of %d: %d evaluations in a row were not below %.4f.",
                state.global_step,
                state.max_steps,
                self._without_lower,
                self._lowest,
            )
            # From here on the run is as long as it is: everyone who shows its length reads it of this point.
            state.max_steps = state.global_step
            control.should_training_stop = True
        self.flush(state)
        if state.global_step < state.max_steps:
            self._tell(PhaseChanged(phase=Phase.TRAINING))

    def _count(self, loss: float) -> None:
        # The evaluation before the first step is the first that a later one has to be lower than.
        if loss < self._lowest:
            self._lowest, self._without_lower = loss, 0
        else:
            self._without_lower += 1

    def flush(self, state: TrainerState, nonfinite: bool = False) -> None:
        """Tell the point that waited for its evaluation, if one did."""
        logs, self._pending = self._pending, None
        if logs is None:
            return
        step_tokens = self.trainer.step_tokens
        self._tokens += step_tokens
        if math.isfinite(logs["loss"]):
            self._last_finite = logs["loss"]
        grad_norm = logs.get("grad_norm", 0.0)
        point = LossPoint(
            iteration=state.global_step,
            epoch=max(1, math.ceil(state.epoch or 0.0)),
            step=state.global_step,
            train_loss=self._last_finite,
            validation_loss=self.validation_loss,
            learning_rate=logs["learning_rate"],
            batch_size=len(self.trainer.step_rows),
            grad_norm=grad_norm if math.isfinite(grad_norm) else 0.0,
            tokens=self._tokens,
            tokens_per_second=step_tokens / self._seconds if self._seconds > 0 else 0.0,
            nonfinite=nonfinite,
            timestamp=utc_now(),
        )
        self._tell(PointMade(point=point, total_steps=state.max_steps, total_epochs=state.num_train_epochs))
