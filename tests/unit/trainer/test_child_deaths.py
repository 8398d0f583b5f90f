"""However the training process dies, its parent hears of it and says why."""

import asyncio
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path
from platform import libc_ver
from types import SimpleNamespace

import psutil
import pytest
import torch

from tests.unit.trainer.child_runs import a_run
from tests.unit.trainer.place import DEAD_SECONDS, lives, until
from tunedeck_chassis import crash_points
from tunedeck_contracts.failures import EXPLANATIONS, FailureCode
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.jobs import Wanted
from tunedeck_trainer import failures, memory, process
from tunedeck_trainer.memory import MemoryWatch
from tunedeck_trainer.pipe import Command, FromChild, Spec, Wishes
from tunedeck_trainer.process import TrainingProcess, environment

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def instead_of_the_child(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> Spec:
    """Have this shell script started in the child's place."""
    program = folder / "child.sh"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(process.sys, "executable", str(program))
    run = a_run(Hyperparameters())
    return Spec(run=run, models_dir=folder, rows_file=folder / "rows.jsonl", device="cpu")


async def heard(folder: Path, spec: Spec) -> tuple[int, list[str]]:
    """The status of a child, and its lines."""
    lines: list[str] = []

    async def on_message(_: FromChild) -> None:
        raise AssertionError("It says nothing.")

    child = await TrainingProcess.start(folder, spec)
    async with asyncio.timeout(60):
        status = await child.listen(on_message, lambda _, text: lines.append(text))
    await child.killed()
    return status, lines


async def test_a_death_is_heard_though_something_that_the_child_started_lives_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = instead_of_the_child(
        tmp_path, f"sleep 600 & echo $! > {tmp_path}/left; echo over; exit 3", monkeypatch
    )
    status, lines = await heard(tmp_path, spec)
    left = int((tmp_path / "left").read_text())
    assert (status, lines) == (3, ["over"])
    async with asyncio.timeout(DEAD_SECONDS):
        await until(lambda: not lives(left))


async def test_a_start_that_is_cancelled_at_any_moment_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = instead_of_the_child(tmp_path, "exec sleep 600", monkeypatch)
    others = set(psutil.Process().children())
    for turns in range(100):
        starting = asyncio.create_task(TrainingProcess.start(tmp_path, spec))
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        try:
            child = await starting
        except asyncio.CancelledError:
            left = set(psutil.Process().children()) - others
            assert left == set(), f"cancelled after {turns} turns of the loop"
        else:
            await child.killed()
            break
    assert turns > 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
async def test_a_signal_is_told_from_an_exit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    spec = instead_of_the_child(tmp_path, f"kill -{number.value} $$", monkeypatch)
    status, _ = await heard(tmp_path, spec)
    assert status == -number


def test_the_childs_environment_leads_to_no_service(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = {
        "TUNEDECK_NATS_URL": "nats://127.0.0.1",
        "TUNEDECK_SECRETS_DIR": "/run/secrets",
        "MY_NATS_SEED": "SU",
        "MONGO_PASSWORD": "p",
        "DB": "mongodb://trainer:p@127.0.0.1",
        "LINK": "nats://127.0.0.1",
    }
    for name, value in secret.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HF_TOKEN", "hf_1")
    monkeypatch.setenv(crash_points.VARIABLE, "/tmp/points")
    given = environment("cuda:1")
    assert not secret.keys() & given.keys()
    assert not any(value in text for value in secret.values() if len(value) > 2 for text in given.values())
    assert (given["HF_TOKEN"], given["CUDA_VISIBLE_DEVICES"]) == ("hf_1", "1")
    assert given[crash_points.VARIABLE] == "/tmp/points"
    assert environment("cpu")["CUDA_VISIBLE_DEVICES"] == ""


def test_a_child_keeps_what_the_operator_has_set_of_its_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=1")
    assert environment("cpu")["GLIBC_TUNABLES"] == "glibc.malloc.arena_max=1"


@pytest.mark.skipif(
    not HUGE_PAGES.is_file() or "[madvise]" not in HUGE_PAGES.read_text() or libc_ver() < ("glibc", "2.35"),
    reason="huge pages are for all who ask for memory, or for nobody, or this libc cannot ask for them",
)
def test_a_child_asks_for_huge_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    code = "x = bytearray(2**26); print(open('/proc/self/smaps').read())"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment("cpu"), capture_output=True, text=True
    )
    mappings = re.findall(r"^Size: +(\d+) kB$.*?^VmFlags:([^\n]*)$", done.stdout, re.MULTILINE | re.DOTALL)
    assert sum(int(size) for size, flags in mappings if "hg" in flags.split()) >= 2**16


def test_torchs_own_words_for_no_memory_are_understood() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 50)
    assert failures.of_exception(raised.value).code is FailureCode.OUT_OF_MEMORY


def test_torchs_own_words_for_a_full_disk_are_understood() -> None:
    with pytest.raises((OSError, RuntimeError)) as raised:
        torch.save({"weights": torch.zeros(10**6)}, "/dev/full")
    assert failures.of_exception(raised.value).code is FailureCode.DISK_FULL


def test_a_killed_process_is_out_of_memory_only_with_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    kills = iter([7, 7, 7, 8, 7, 7])
    monkeypatch.setattr(memory, "oom_kills", lambda: next(kills))
    watch = MemoryWatch(os.getpid())
    watch.look()
    assert not watch.explains(-signal.SIGKILL)
    assert watch.explains(-signal.SIGKILL)
    assert not watch.explains(-signal.SIGTERM)
    near = MemoryWatch(os.getpid())
    monkeypatch.setattr(memory, "cgroup_limit", lambda: 1)
    near.look()
    assert near.explains(-signal.SIGKILL)


def test_of_a_launched_run_its_processes_memory_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    own = psutil.Process().memory_info().rss
    monkeypatch.setattr(memory, "oom_kills", lambda: 7)
    free = SimpleNamespace(available=2**40, total=2**40)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: free)
    # With the 128 MiB of the other, and not without, it is near.
    monkeypatch.setattr(memory, "cgroup_limit", lambda: int((own + 2**26) / 0.95))
    script = f"held = bytearray({2**27}); print(len(held), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as launched:
        assert launched.stdout is not None and launched.stdout.readline()
        for is_launcher in (True, False):
            watch = MemoryWatch(os.getpid(), is_launcher=is_launcher)
            watch.look()
            assert watch.explains(-signal.SIGKILL) is is_launcher
        launched.communicate(b"\n")


def test_a_kill_of_another_process_an_hour_ago_is_no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    kills = iter([7, 8, 8, 8, 9])
    monkeypatch.setattr(memory, "oom_kills", lambda: next(kills))
    watch = MemoryWatch(os.getpid())
    watch.look()
    watch.look()
    assert not watch.explains(-signal.SIGKILL)
    assert watch.explains(-signal.SIGKILL)


def test_every_code_of_a_failure_has_a_sentence_and_a_hint() -> None:
    for code in FailureCode:
        assert EXPLANATIONS[code].sentence
        assert EXPLANATIONS[code].hint


def test_a_pause_can_be_taken_back_and_a_cancel_cannot() -> None:
    wishes = Wishes()
    for wanted in (Wanted.PAUSE, Wanted.RUN):
        wishes.heed(Command(wanted=wanted).wanted)
    assert not wishes.paused.is_set()
    for wanted in (Wanted.CANCEL, Wanted.RUN):
        wishes.heed(wanted)
    assert wishes.cancelled.is_set()
