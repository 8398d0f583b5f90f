"""Runs of tiny models, each in a process forked from one that has loaded torch, under a limit of memory."""

import json
import multiprocessing
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.unit.trainer.child_runs import MODEL, a_run
from tests.unit.trainer.resume_runs import GPT2
from tunedeck_contracts.estimates import BatchSplit, Probed
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.jobs import Result
from tunedeck_contracts.model_saving import ModelSaving
from tunedeck_trainer.pipe import FromChild, PhaseChanged, PointMade, RunProbed, Spec, Wishes, decode

MODELS = {"llama": MODEL, "gpt2": GPT2}

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tunedeck_trainer.recipe"])


@dataclass(frozen=True)
class Ran:
    """What a run has told, and its result or the words of what it raised."""

    told: list[FromChild]
    result: Result | None
    raised: str

    @property
    def losses(self) -> list[float]:
        return [one.point.train_loss for one in self.told if isinstance(one, PointMade)]

    @property
    def validation_losses(self) -> list[float]:
        return [one.point.validation_loss for one in self.told if isinstance(one, PointMade)]

    @property
    def phases(self) -> list[str]:
        return [one.phase.value for one in self.told if isinstance(one, PhaseChanged)]

    @property
    def probed(self) -> Probed | None:
        return next((one.probed for one in self.told if isinstance(one, RunProbed)), None)

    @property
    def split(self) -> BatchSplit | None:
        return self.probed.split if self.probed is not None else None


def write_long_rows(file: Path, count: int) -> None:
    """Rows of some hundred tokens, each longer than the one before."""
    rows = [{"input": f"What is {n}?", "output": "It is" + " so" * (80 + n)} for n in range(count)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def ran(
    folder: Path,
    models_dir: Path,
    settings: Hyperparameters,
    *,
    model: str = "llama",
    rows: int = 36,
    room: int | None = None,
    known: Probed | None = None,
) -> Ran:
    """Train in `folder`. `room`: bytes that the process may take beyond what it has before it loads anything.

    `known`: what an earlier attempt has found.
    """
    folder.mkdir(parents=True)
    write_long_rows(folder / "rows.jsonl", rows)
    run = a_run(settings, MODELS[model])
    run = run.model_copy(update={"probed": known, "model_saving": ModelSaving(save_model=False)})
    spec = Spec(run=run, models_dir=models_dir, rows_file=folder / "rows.jsonl", device="cpu", threads=1)
    process = _CONTEXT.Process(target=_train, args=(folder, spec, room))
    process.start()
    process.join()
    assert process.exitcode == 0
    told = [decode(line) for line in (folder / "told.jsonl").read_bytes().splitlines()]
    end = json.loads((folder / "end.json").read_text())
    result = Result.model_validate(end["result"]) if end["result"] else None
    return Ran(told, result, end["raised"])


def _train(folder: Path, spec: Spec, room: int | None) -> None:
    from tunedeck_trainer.memory_use import taken
    from tunedeck_trainer.recipe import fine_tune

    if room is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (taken("VmData") + room, hard))
    end: dict[str, Any] = {"result": None, "raised": ""}
    with (folder / "told.jsonl").open("ab", buffering=0) as lines:

        def tell(message: FromChild) -> None:
            lines.write(message.to_json() + b"\n")

        try:
            found = fine_tune(spec, folder, tell, Wishes())
            end["result"] = found.model_dump(mode="json")
        except Exception as error:
            end["raised"] = f"{getattr(error, 'code', '')} {error}"
    (folder / "end.json").write_text(json.dumps(end))
