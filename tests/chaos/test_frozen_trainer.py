"""A trainer stands still past its lease and comes back: it was replaced, and changes nothing any more."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.chaos import reading, verdicts
from tests.chaos.client import PatientClient, ended
from tests.chaos.connecting import connected
from tests.chaos.nemesis import frozen
from tests.chaos.scale import IS_LONG
from tests.chaos.trainers import SecondTrainer, Trainer
from tests.chaos.trainings import training_verdicts
from tests.chaos.verdicts import Attempt
from tests.support.servers import wait_for
from tunedeck_chassis.bus import Bus
from tunedeck_cli.stack import Stack
from tunedeck_contracts import rpc
from tunedeck_contracts.errors import Conflict
from tunedeck_contracts.jobs import Phase
from tunedeck_contracts.runs import Beat, Outcome, Report

FREEZES = 200 if IS_LONG else 2
REPLACED_SECONDS = 60

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800 if IS_LONG else 300)]


@pytest.fixture
def trainers(chaos_stack: Stack, tmp_path: Path) -> Iterator[list[Trainer]]:
    """The stack's trainer, and another to take over from it."""
    second = SecondTrainer(chaos_stack, tmp_path / "second")
    second.start()
    yield [Trainer(chaos_stack), second]
    second.stop()


def test_a_trainer_that_stood_still_past_its_lease_writes_nothing(
    chaos_stack: Stack,
    client: PatientClient,
    trainers: list[Trainer],
    dataset: str,
    undisturbed: list[float],
) -> None:
    uid = client.train("frozen", dataset)
    attempts: list[Attempt] = []
    holder, fence = _holder(trainers, uid, after=0)
    for _ in range(FREEZES):
        with frozen(holder.pid):
            holder, newest = _holder(trainers, uid, after=fence)
        attempts += asyncio.run(_late_attempts(chaos_stack, uid, fence, newest))
        fence = newest
    job = client.wait(uid, ended, REPLACED_SECONDS)
    told = asyncio.run(reading.streamed_events(chaos_stack))[uid]
    assert len(attempts) == 3 * FREEZES
    assert job["attempt"] > FREEZES
    said = [*verdicts.stale_writes(attempts), *training_verdicts(client, job, told, undisturbed)]
    assert said == []


def _holder(trainers: Sequence[Trainer], uid: str, after: int) -> tuple[Trainer, int]:
    """Who works on the job under a fence above `after`, and that fence."""
    found: list[tuple[Trainer, int]] = []

    def holds() -> bool:
        found[:] = [(one, fence) for one in trainers if (fence := one.fence_of(uid)) > after]
        return bool(found)

    wait_for(f"a claim of {uid} above fence {after}", holds, REPLACED_SECONDS)
    return max(found, key=lambda one: one[1])


async def _late_attempts(stack: Stack, uid: str, fence: int, newest: int) -> list[Attempt]:
    """What the replaced run may still say, beside what the trainer itself says when it wakes up."""
    messages = {
        "beat": (rpc.JOB_BEAT, Beat(job_uid=uid, fence=fence, phase=Phase.TRAINING, step=1)),
        "completion": (rpc.JOB_REPORT, Report(job_uid=uid, fence=fence, outcome=Outcome.COMPLETED)),
        "loss": (rpc.JOB_REPORT, Report(job_uid=uid, fence=fence, outcome=Outcome.LOST)),
    }
    attempts = []
    async with connected(stack, "trainer") as broker:
        for what, (asked, message) in messages.items():
            try:
                await Bus(broker).request(asked, message)
                is_accepted = True
            except Conflict:
                is_accepted = False
            attempts.append(Attempt(uid, what, fence, newest, is_accepted))
    return attempts
