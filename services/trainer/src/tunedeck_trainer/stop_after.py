"""Ends a run before its settings say so, and changes nothing else of it: what a verification replays."""

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class StopAfter(TrainerCallback):  # type: ignore[misc]
    """After so many optimizer steps. The learning rate's schedule is that of the whole run: it is made before
    training begins."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        state.max_steps = min(state.max_steps, self._steps)
