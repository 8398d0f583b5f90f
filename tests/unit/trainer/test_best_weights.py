"""The tuned model is that of the lowest validation loss, also of a run that was killed and went on."""

import logging
import math
import shutil
import signal
from pathlib import Path

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM

from tests.unit.trainer.child_runs import MODEL
from tests.unit.trainer.resume_runs import Trained, trained
from tests.unit.trainer.test_recipe import validation_loss
from tunedeck_contracts.artifacts import MANIFEST
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_trainer import best_weights
from tunedeck_trainer import checkpoint_files as files
from tunedeck_trainer.checkpoint_files import TornCheckpoint
from tunedeck_trainer.pipe import CheckpointWritten, PointMade

LAST = 10
# So high a learning rate that the validation loss falls and rises again.
RISING = Hyperparameters(
    max_steps=LAST,
    batch_size=4,
    eval_steps=2,
    save_steps=1,
    learning_rate=0.1,
    scheduler="constant",
    lora_dropout=0.1,
)


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Trained:
    return trained(tmp_path_factory.mktemp("best") / "run", models_dir, RISING, model=MODEL)


def evaluations(run: Trained) -> dict[int, float]:
    points = [one.point for one in run.told if isinstance(one, PointMade)]
    return {point.step: point.validation_loss for point in points if point.step % 2 == 0}


def best_of(run: Trained) -> int:
    losses = evaluations(run)
    best = min(losses, key=losses.__getitem__)
    assert 2 < best < LAST - 1, f"the settings of this test are to have their best step inside: {losses}"
    return best


def test_the_tuned_model_is_that_of_the_lowest_validation_loss(
    never_stopped: Trained, models_dir: Path
) -> None:
    losses, best, result = evaluations(never_stopped), best_of(never_stopped), never_stopped.result
    assert (result.best_step, result.validation_loss_after) == (best, losses[best])
    assert result.validation_loss_last == losses[LAST] > losses[best]
    base = AutoModelForCausalLM.from_pretrained(models_dir / MODEL)
    tuned = PeftModel.from_pretrained(base, never_stopped.folder / "tuned")
    loss = validation_loss(tuned, models_dir, never_stopped.folder)
    assert loss == pytest.approx(losses[best], rel=2e-5)
    assert f"after step {best}," in (never_stopped.folder / "tuned" / "README.md").read_text()


@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_a_run_that_goes_on_has_the_best_weights_of_all_of_it(
    never_stopped: Trained, models_dir: Path, tmp_path: Path, beyond: int
) -> None:
    best = best_of(never_stopped)
    killed = trained(tmp_path / "killed", models_dir, RISING, model=MODEL, killed_after=best + beyond)
    assert killed.status == -signal.SIGKILL
    newest = killed.checkpoint(best + beyond)
    # Of its own step they are the checkpoint's weights, which are in it once.
    assert (newest / files.BEST_WEIGHTS).exists() == (beyond != 0)
    resumed = trained(tmp_path / "resumed", models_dir, RISING, model=MODEL, resume=newest)
    assert resumed.status == 0
    assert resumed.losses == never_stopped.losses
    assert resumed.weights == never_stopped.weights
    assert (resumed.result.best_step, resumed.result.validation_loss_after) == (
        best,
        never_stopped.result.validation_loss_after,
    )


def test_a_checkpoint_is_judged_by_an_evaluation_after_a_step_alone(never_stopped: Trained) -> None:
    written = {one.step: one for one in never_stopped.told if isinstance(one, CheckpointWritten)}
    losses = evaluations(never_stopped)
    assert [written[step].validation_loss for step in (1, 2, 3)] == [None, losses[2], losses[2]]


@pytest.mark.parametrize("tear", [Path.unlink, lambda file: file.write_bytes(file.read_bytes()[:-1])])
def test_torn_best_weights_are_noticed_though_every_hash_is_right(
    never_stopped: Trained, models_dir: Path, tmp_path: Path, tear: object
) -> None:
    copied = Path(shutil.copytree(never_stopped.checkpoint(best_of(never_stopped) + 1), tmp_path / "copied"))
    manifest = files.verified(copied)
    assert callable(tear)
    tear(copied / files.BEST_WEIGHTS)
    with pytest.raises(TornCheckpoint):
        files.verified(copied)
    (copied / MANIFEST).unlink()
    files.publish(copied, tmp_path / "published", manifest)
    refused = trained(tmp_path / "run", models_dir, RISING, model=MODEL, resume=tmp_path / "published")
    assert refused.status != 0
    assert [one for one in refused.told if isinstance(one, PointMade)] == []


def test_without_room_for_them_the_run_goes_on_and_says_which_were_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept = best_weights.BestWeights(tmp_path)

    def full(model: object, file: Path) -> None:
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(best_weights, "save_weights", full)
    with caplog.at_level(logging.WARNING, "tunedeck"):
        kept.judge(None, step=2, loss=3.0, is_last=False)
    assert math.isinf(kept.loss)
    assert "weights of step 2, the best so far, were not kept" in caplog.text
    assert list(tmp_path.iterdir()) == []
    kept.judge(None, step=4, loss=4.0, is_last=True)
    assert (kept.step, kept.loss) == (4, 4.0)
