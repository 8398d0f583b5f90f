"""A run that was killed and went on ends as one that never stopped, bit for bit.

On a CPU, with the same threads and versions: every loss, and the weights. Eight of the points are in the
short form; TUNEDECK_LONG=1 takes all eighty.
"""

import os
import signal
from functools import cache
from pathlib import Path

import pytest

from tests.unit.trainer.child_runs import MODEL
from tests.unit.trainer.resume_runs import SETTINGS, STEPS, Trained, trained
from tunedeck_contracts.hyperparameters import Hyperparameters

WAYS = [("lora", 1), ("lora", 2), ("full", 1), ("full", 2)]
SHORT = [
    *(("lora", 1, 1), ("lora", 1, 6), ("lora", 2, 5), ("lora", 2, 9)),
    *(("full", 1, 12), ("full", 1, STEPS), ("full", 2, 3), ("full", 2, 10)),
]
LONG = [(*way, step) for way in WAYS for step in range(1, STEPS + 1)]
POINTS = LONG if os.environ.get("TUNEDECK_LONG") else SHORT


def settings(method: str, accumulation: int) -> Hyperparameters:
    return Hyperparameters.model_validate(
        {**SETTINGS.model_dump(), "method": method, "gradient_accumulation_steps": accumulation}
    )


class NeverStopped:
    """One run of each way, made when it is first asked for."""

    def __init__(self, folder: Path, models_dir: Path) -> None:
        self._folder = folder
        self._models_dir = models_dir
        self.of = cache(self._of)

    def _of(self, method: str, accumulation: int) -> Trained:
        # Without checkpoints: writing them must change nothing either.
        chosen = settings(method, accumulation).model_copy(update={"save_steps": None})
        return trained(self._folder / f"{method}{accumulation}", self._models_dir, chosen)


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory: pytest.TempPathFactory, gpt2_dir: Path) -> NeverStopped:
    return NeverStopped(tmp_path_factory.mktemp("never_stopped"), gpt2_dir)


@pytest.mark.parametrize(("method", "accumulation", "step"), POINTS)
def test_a_killed_run_goes_on_as_if_it_had_not_been(
    tmp_path: Path, gpt2_dir: Path, never_stopped: NeverStopped, method: str, accumulation: int, step: int
) -> None:
    whole = never_stopped.of(method, accumulation)
    chosen = settings(method, accumulation)
    killed = trained(tmp_path / "killed", gpt2_dir, chosen, killed_after=step)
    assert killed.status == -signal.SIGKILL
    newest = killed.checkpoint(min(step, STEPS - 1))
    resumed = trained(tmp_path / "resumed", gpt2_dir, chosen, resume=newest)
    assert resumed.status == whole.status == 0
    assert resumed.losses == whole.losses
    assert resumed.weights == whole.weights


def test_a_run_that_shares_what_its_rows_begin_with_goes_on_too(tmp_path: Path, models_dir: Path) -> None:
    """A Llama without dropout is trained by the faster ways, which the GPT-2 above has none of."""
    chosen = settings("lora", 1).model_copy(update={"lora_dropout": 0.0})
    unsaved = chosen.model_copy(update={"save_steps": None})
    whole = trained(tmp_path / "whole", models_dir, unsaved, model=MODEL)
    killed = trained(tmp_path / "killed", models_dir, chosen, model=MODEL, killed_after=7)
    assert killed.status == -signal.SIGKILL
    resumed = trained(tmp_path / "resumed", models_dir, chosen, model=MODEL, resume=killed.checkpoint(7))
    assert resumed.status == whole.status == 0
    assert resumed.losses == whole.losses
    assert resumed.weights == whole.weights


def test_a_run_that_ends_early_ends_where_it_would_have_without_the_kill(
    tmp_path: Path, models_dir: Path
) -> None:
    """Killed behind the first of the two evaluations without a lower loss that end it."""
    worse = {"method": "full", "lora_dropout": 0.0, "learning_rate": 1.0, "early_stopping_patience": 2}
    chosen = SETTINGS.model_copy(update={**worse, "eval_steps": 2, "warmup_steps": 0})
    whole = trained(tmp_path / "whole", models_dir, chosen, model=MODEL)
    last = len(whole.losses)
    assert 4 <= last < STEPS
    killed = trained(tmp_path / "killed", models_dir, chosen, model=MODEL, killed_after=last - 1)
    assert killed.status == -signal.SIGKILL
    newest = killed.checkpoint(last - 1)
    resumed = trained(tmp_path / "resumed", models_dir, chosen, model=MODEL, resume=newest)
    assert resumed.losses == whole.losses
    assert resumed.weights == whole.weights
    assert resumed.result.best_step == whole.result.best_step
