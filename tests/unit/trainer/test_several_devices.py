"""A run on two devices, here two processes on the CPU over gloo, is the run of one with the whole batch."""

import asyncio
import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from transformers import TrainerControl, TrainerState

from tests.unit.trainer.child_runs import MODEL, OnMessage, run_child, write_rows
from tests.unit.trainer.place import LONG, Place, until
from tests.unit.trainer.resume_runs import trained
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.jobs import Wanted
from tunedeck_contracts.runs import Outcome
from tunedeck_contracts.training import LossPoint
from tunedeck_trainer.pipe import (
    MEETING_FILE,
    CheckpointWritten,
    Command,
    Finished,
    FromChild,
    PointMade,
    Stopped,
)
from tunedeck_trainer.ranks import InStep, Ranks
from tunedeck_trainer.supervision import Supervision

# Each run is three processes that load torch.
pytestmark = pytest.mark.timeout(900)

TWO = ["cpu", "cpu"]
# Of them 25 to train on: the second process has no row of the last one of an epoch.
ROWS = 28
# More than the pipe and its reader hold the messages of: a run that is to pause cannot end before it is told.
STEPS = 20
SETTINGS = Hyperparameters(
    max_steps=STEPS,
    batch_size=4,
    gradient_accumulation_steps=2,
    eval_steps=2,
    save_steps=1,
    learning_rate=1e-2,
)


@dataclass(frozen=True)
class Run:
    folder: Path
    told: list[FromChild]
    listening_at: set[str] = field(default_factory=set)

    @property
    def points(self) -> list[LossPoint]:
        return [one.point for one in self.told if isinstance(one, PointMade)]

    @property
    def without_clock(self) -> list[dict[str, object]]:
        return [one.model_dump(exclude={"timestamp", "tokens_per_second"}) for one in self.points]


def on_two(
    folder: Path, models_dir: Path, on_message: OnMessage | None = None, resume: Path | None = None
) -> Run:
    folder.mkdir(exist_ok=True)
    write_rows(folder / "rows.jsonl", ROWS)
    told, status, printed = run_child(folder, models_dir, SETTINGS, on_message, devices=TWO, resume=resume)
    assert status == 0, printed
    return Run(folder, told)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Run:
    """What the run has told, and the addresses at which its processes listen while they train."""
    found: set[str] = set()

    def look(message: FromChild, child: subprocess.Popen[bytes]) -> None:
        if isinstance(message, PointMade):
            launcher = psutil.Process(child.pid)
            for one in (launcher, *launcher.children()):
                # One that helps for a moment may have ended since.
                with contextlib.suppress(psutil.NoSuchProcess):
                    open_ones = one.net_connections(kind="inet")
                    found.update(each.laddr.ip for each in open_ones if each.status == psutil.CONN_LISTEN)

    run = on_two(tmp_path_factory.mktemp("two") / "run", models_dir, look)
    return replace(run, listening_at=found)


def test_two_processes_train_as_one_with_twice_the_batch(two: Run, models_dir: Path, tmp_path: Path) -> None:
    twice = SETTINGS.model_copy(update={"batch_size": 2 * SETTINGS.batch_size})
    one = trained(tmp_path / "one", models_dir, twice, model=MODEL, rows=ROWS)
    alone = [message.point for message in one.told if isinstance(message, PointMade)]
    assert len(alone) == len(two.points) == STEPS
    assert {point.batch_size for point in two.points} == {16, 9}
    for ours, shared in zip(alone, two.points, strict=True):
        assert (ours.step, ours.batch_size, ours.tokens) == (shared.step, shared.batch_size, shared.tokens)
        for name in ("train_loss", "validation_loss"):
            assert getattr(ours, name) == pytest.approx(getattr(shared, name), abs=1e-5), (name, ours.step)
        # At a step where the loss is steep, rounding counts for more: 1.2e-5 of it was seen.
        assert ours.grad_norm == pytest.approx(shared.grad_norm, rel=1e-4), ours.step
    end = two.told[-1]
    assert isinstance(end, Finished)
    assert end.result.trained_tokens == one.result.trained_tokens


def test_the_first_process_alone_writes(two: Run) -> None:
    assert (two.folder / "tuned" / "adapter_model.safetensors").is_file()
    written = [message.step for message in two.told if isinstance(message, CheckpointWritten)]
    assert written == list(range(1, STEPS))
    assert [one.name for one in (two.folder / "process-1").rglob("*") if one.is_file()] == ["points.jsonl"]


def test_the_processes_are_reached_from_this_machine_alone(two: Run) -> None:
    assert two.listening_at == {"127.0.0.1"}


def sum_one_gradient_each(index: int, folder: Path) -> None:
    os.environ |= {"RANK": str(index), "WORLD_SIZE": "2", MEETING_FILE: str(folder / "meeting")}
    os.environ |= {"GLOO_SOCKET_IFNAME": "lo"}
    ranks = Ranks.joined(on_gpu=False)
    layers = torch.nn.ModuleList(torch.nn.Linear(1, 1, bias=False) for _ in range(3))
    layers[index].weight.grad = torch.full((1, 1), index + 1.0)
    ranks.sum_gradients(layers)
    ranks.part()
    sums = [one.grad.item() if one.grad is not None else None for one in layers.parameters()]
    (folder / str(index)).write_text(json.dumps(sums))


def test_a_weight_that_one_process_alone_has_a_gradient_of_gets_it_in_both(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    both = [context.Process(target=sum_one_gradient_each, args=(index, tmp_path)) for index in (0, 1)]
    for one in both:
        one.start()
    for one in both:
        one.join(300)
        assert one.exitcode == 0
    # What no process has a gradient of has none either: an optimizer leaves it alone.
    assert [json.loads((tmp_path / name).read_text()) for name in ("0", "1")] == [[1.0, 2.0, None]] * 2


def test_a_pause_reaches_both_at_one_step_and_the_run_goes_on_bit_for_bit(
    two: Run, models_dir: Path, tmp_path: Path
) -> None:
    def pause_at_the_second(message: FromChild, child: subprocess.Popen[bytes]) -> None:
        if isinstance(message, PointMade) and message.point.step == 2 and child.stdin is not None:
            child.stdin.write(Command(wanted=Wanted.PAUSE).to_json() + b"\n")
            child.stdin.flush()

    paused = on_two(tmp_path / "paused", models_dir, pause_at_the_second)
    assert paused.told[-1] == Stopped(wanted=Wanted.PAUSE)
    last = paused.points[-1].step
    assert 2 <= last < STEPS
    # A run that is started again in its folder finds what torch's launcher has left there.
    (tmp_path / "resumed").mkdir()
    shutil.copy(paused.folder / "rendezvous", tmp_path / "resumed")
    resumed = on_two(tmp_path / "resumed", models_dir, resume=paused.folder / "checkpoints" / str(last))
    assert resumed.without_clock == two.without_clock


def test_what_a_process_draws_in_a_step_follows_from_the_step_and_the_process() -> None:
    def drawn(index: int, step: int) -> float:
        state = TrainerState()
        state.global_step = step
        InStep(Ranks(index, 2)).on_step_begin(SimpleNamespace(seed=42), state, TrainerControl())
        return float(torch.rand(1).item())

    assert drawn(0, 5) == drawn(0, 5)
    assert len({drawn(index, step) for index in (0, 1) for step in (5, 6)}) == 4


def processes_of(folder: Path) -> list[psutil.Process]:
    """Launcher and training processes of a run below this folder, the launcher first."""
    found = []
    for one in psutil.process_iter(["cmdline", "create_time"]):
        line = one.info["cmdline"] or []
        if any(word.startswith(str(folder)) for word in line) and "-m" in line:
            found.append(one)
    return sorted(found, key=lambda one: float(one.info["create_time"]))


@pytest.fixture
def two_devices(place: Place) -> Place:
    place.around = replace(place.around, devices=tuple(TWO))
    return place


@pytest.mark.parametrize("victim", [0, 2], ids=["launcher", "second process"])
async def test_a_killed_process_ends_the_run_as_lost_and_leaves_no_orphan(
    two_devices: Place, victim: int
) -> None:
    place = two_devices
    task = asyncio.create_task(Supervision(place.run(LONG), place.around).supervise())
    async with asyncio.timeout(600):
        while not place.bus.of_kind("loss"):
            await asyncio.sleep(0.1)
    alive = processes_of(place.settings.work_dir)
    assert len(alive) == 3
    os.kill(alive[victim].pid, signal.SIGKILL)
    await asyncio.wait_for(task, 200)
    assert [report.outcome for report in place.bus.reports] == [Outcome.LOST], place.bus.reports
    await until(lambda: not any(one.is_running() for one in alive))
