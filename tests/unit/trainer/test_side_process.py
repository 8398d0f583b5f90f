"""Questions answered by a process beside training: its answers, its refusals, its end."""

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.unit.trainer.place import DEAD_SECONDS, lives, until
from tunedeck_contracts.errors import Conflict, InternalError, TunedeckError, Unavailable
from tunedeck_contracts.message import Message
from tunedeck_trainer.side_process import NO_MEMORY, SideProcesses

MODULE = "side_module_of_the_test"
SOURCE = """
import os, signal, time
began = time.monotonic()
from tunedeck_contracts.failures import FailureCode
from tunedeck_contracts.message import Message
from tunedeck_trainer.failures import RunFailed
from tunedeck_trainer.side_answer import answer

class Word(Message):
    word: str

def work(question):
    print("what a library prints")
    os.system("echo what its child prints")
    if question.word == "environment":
        return Word(word=" ".join(sorted(os.environ)))
    if question.word == "nice":
        return Word(word=f"{os.nice(0)} {open('/proc/self/oom_score_adj').read().strip()}")
    if question.word == "times":
        time.sleep(0.5)
        return Word(word=f"{began} {time.monotonic()}")
    if question.word == "sleep":
        open("asleep", "w").close()
        time.sleep(600)
    if question.word.startswith("signal"):
        os.kill(os.getpid(), int(question.word.split()[1]))
    if question.word == "memory":
        raise MemoryError
    if question.word == "defect":
        raise KeyError("a secret of the inside")
    if question.word in list(FailureCode):
        raise RunFailed(FailureCode(question.word), "It is so.")
    return Word(word=question.word[::-1])

def main():
    return answer(Word, work)
"""


class Word(Message):
    """What the test's module takes and answers."""

    word: str


@pytest.fixture
def side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SideProcesses]:
    (tmp_path / f"{MODULE}.py").write_text(SOURCE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNEDECK_NATS_URL", "nats://secret")
    yield SideProcesses()
    assert running() == [], "a process was left behind"


async def ask(side: SideProcesses, word: str) -> str:
    return (await side.ask(MODULE, Word(word=word), Word)).word


def running() -> list[psutil.Process]:
    found = []
    for one in psutil.Process().children(recursive=True):
        try:
            if MODULE in one.cmdline() and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
        except psutil.Error:
            continue
    return found


async def test_what_libraries_print_does_not_spoil_the_answer(side: SideProcesses) -> None:
    assert await ask(side, "So many words.") == ".sdrow ynam oS"


async def test_it_knows_no_service_and_steps_back_for_training(side: SideProcesses) -> None:
    assert "TUNEDECK_NATS_URL" not in (await ask(side, "environment")).split()
    niceness, oom_score = (await ask(side, "nice")).split()
    assert int(niceness) >= min(19, os.nice(0) + 10)
    assert oom_score == "1000"


@pytest.mark.parametrize(
    ("word", "kind", "sentence"),
    [
        ("bad_data", Conflict, "It is so. Check the dataset's rows"),
        ("gated_model", Conflict, "HF_TOKEN"),
        ("hub_unavailable", Unavailable, "It is so. Check the trainer's way to the Hub"),
        ("memory", Unavailable, NO_MEMORY),
        (f"signal {signal.SIGKILL}", Unavailable, NO_MEMORY),
        (f"signal {signal.SIGTERM}", Unavailable, "ended from outside"),
        (f"signal {signal.SIGSEGV}", InternalError, "the trainer's log has its last words"),
        ("defect", InternalError, "the trainer's log has its last words"),
    ],
)
async def test_what_is_not_answered_is_refused_with_the_reason(
    side: SideProcesses, word: str, kind: type[TunedeckError], sentence: str
) -> None:
    with pytest.raises(TunedeckError) as raised:
        await ask(side, word)
    assert type(raised.value) is kind
    assert sentence in raised.value.detail
    assert "secret" not in raised.value.detail


async def test_one_runs_at_a_time(side: SideProcesses) -> None:
    told = await asyncio.gather(*(ask(side, "times") for _ in range(3)))
    times = sorted(tuple(map(float, one.split())) for one in told)
    for (_, ended), (began, _) in itertools.pairwise(times):
        assert ended < began


async def test_a_question_that_is_given_up_ends_its_process_and_its_turn(side: SideProcesses) -> None:
    first = asyncio.create_task(ask(side, "sleep"))
    await until(Path("asleep").exists)
    second = asyncio.create_task(ask(side, "next"))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second == "txen"


async def test_it_can_be_given_up_at_any_moment(side: SideProcesses) -> None:
    for moment in (0.0, 0.001, 0.003, 0.01, 0.1):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(moment):
                await ask(side, "sleep")
    assert await ask(side, "next") == "txen"


async def test_it_dies_with_the_trainer(side: SideProcesses, tmp_path: Path) -> None:
    trainer = tmp_path / "trainer.py"
    trainer.write_text(
        "import asyncio\n"
        "from tests.unit.trainer.test_side_process import MODULE, Word\n"
        "from tunedeck_trainer.side_process import SideProcesses\n"
        "asyncio.run(SideProcesses().ask(MODULE, Word(word='sleep'), Word))\n"
    )
    paths = os.pathsep.join([os.environ["PYTHONPATH"], str(Path(__file__).parents[3])])
    parent = await asyncio.create_subprocess_exec(
        sys.executable, str(trainer), env={**os.environ, "PYTHONPATH": paths}, cwd=tmp_path
    )
    await until((tmp_path / "asleep").exists)
    child = running()[0]
    parent.kill()
    await parent.wait()
    async with asyncio.timeout(DEAD_SECONDS):
        await until(lambda: not lives(child.pid))
