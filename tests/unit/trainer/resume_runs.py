"""Runs of a small GPT-2 with dropout, each in a process forked from one that has loaded torch."""

import hashlib
import multiprocessing
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.unit.trainer.child_runs import a_run, write_rows
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.jobs import Result
from tunedeck_trainer.checkpoint_files import WEIGHTS
from tunedeck_trainer.pipe import CheckpointWritten, FromChild, PointMade, Spec, Wishes, decode
from tunedeck_trainer.training_record import LOG

GPT2 = "local/gpt2"
STEPS = 20
SETTINGS = Hyperparameters(
    max_steps=STEPS,
    batch_size=4,
    eval_steps=4,
    learning_rate=1e-2,
    lora_dropout=0.1,
    warmup_steps=3,
    save_steps=1,
)

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tunedeck_trainer.recipe"])


@dataclass(frozen=True)
class Trained:
    """What a run has left: its folder, what it told, and its exit status."""

    folder: Path
    told: list[FromChild]
    status: int | None

    @property
    def losses(self) -> list[tuple[object, ...]]:
        """Everything of the points that does not depend on the clock."""
        points = [one.point for one in self.told if isinstance(one, PointMade)]
        clock = {"timestamp", "tokens_per_second"}
        return [tuple(point.model_dump(exclude=clock).items()) for point in points]

    @property
    def weights(self) -> str:
        """The hash of the tuned weights."""
        [file] = (self.folder / "tuned").glob("*model.safetensors")
        return hashlib.sha256(file.read_bytes()).hexdigest()

    @property
    def result(self) -> Result:
        """What a run that has ended achieved."""
        return Result.model_validate_json((self.folder / "result.json").read_bytes())

    def checkpoint(self, step: int) -> Path:
        """The folder of one, which is there."""
        folder = self.folder / "checkpoints" / str(step)
        assert (folder / WEIGHTS).is_file()
        return folder


def trained(
    folder: Path,
    models_dir: Path,
    settings: Hyperparameters,
    *,
    model: str = GPT2,
    rows: int = 26,
    resume: Path | None = None,
    killed_after: int | None = None,
) -> Trained:
    """Train in `folder`; the process is killed once it has told the step's checkpoint, or its last point."""
    folder.mkdir(parents=True)
    write_rows(folder / "rows.jsonl", rows)
    spec = Spec(
        run=a_run(settings, model),
        models_dir=models_dir,
        rows_file=folder / "rows.jsonl",
        device="cpu",
        threads=1,
        resume=resume,
    )
    process = _CONTEXT.Process(target=_train, args=(folder, spec, killed_after))
    process.start()
    process.join()
    told = [decode(line) for line in (folder / "told.jsonl").read_bytes().splitlines()]
    return Trained(folder, told, process.exitcode)


def _train(folder: Path, spec: Spec, killed_after: int | None) -> None:
    from tunedeck_trainer.recipe import fine_tune

    (folder / LOG).touch()
    with (folder / "told.jsonl").open("ab", buffering=0) as lines:

        def tell(message: Any) -> None:
            lines.write(message.to_json() + b"\n")
            is_written = isinstance(message, CheckpointWritten) and message.step == killed_after
            is_last = isinstance(message, PointMade) and message.point.step == killed_after == STEPS
            if is_written or is_last:
                os.kill(os.getpid(), signal.SIGKILL)

        result = fine_tune(spec, folder, tell, Wishes())
        (folder / "result.json").write_bytes(result.to_json())
