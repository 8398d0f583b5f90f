"""A trainer stands still past its lease and comes back: it was replaced, and changes nothing any more."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.chaos import reading, verdicts
from tests.chaos.client import STEPS, PatientClient, ended, trains
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
from tunedeck_contracts.checkpoints import Checkpoint, RegisterCheckpoint, StoredBlob
from tunedeck_contracts.cloudevents import Event
from tunedeck_contracts.errors import Conflict
from tunedeck_contracts.jobs import Phase
from tunedeck_contracts.message import utc_now
from tunedeck_contracts.runs import Beat, Outcome, Report
from tunedeck_contracts.subjects import TrainingKind
from tunedeck_contracts.training import LossPoint, LossRecorded
from tunedeck_trainer.delivery import training_event

FREEZES = 200 if IS_LONG else 2
TRAINS_EVERY = 10
REPLACED_SECONDS = 240

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2700 if IS_LONG else 900)]


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
    uid = client.seen_training("frozen", dataset)
    attempts: list[Attempt] = []
    holder, fence = _holder(trainers, uid, after=0)
    for number in range(FREEZES):
        if number % TRAINS_EVERY == 0:
            # This one has something to tell when it wakes up; the others are struck before their first step.
            client.wait(uid, trains, REPLACED_SECONDS)
        with frozen(holder.pid):
            holder, newest = _holder(trainers, uid, after=fence)
        attempts += asyncio.run(_late_attempts(chaos_stack, uid, fence, newest))
        fence = newest
    job = client.wait(uid, ended, REPLACED_SECONDS)
    told = reading.told(chaos_stack, client, uid)[uid]
    assert len(attempts) == 4 * FREEZES
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
    """What the replaced run may still say, beside what the trainer itself says when it wakes up.

    A point of it is taken, and shown nowhere: `training_verdicts` would find it behind the last one.
    """
    messages = {
        "beat": (rpc.JOB_BEAT, Beat(job_uid=uid, fence=fence, phase=Phase.TRAINING, step=1)),
        "completion": (rpc.JOB_REPORT, Report(job_uid=uid, fence=fence, outcome=Outcome.COMPLETED)),
        "loss": (rpc.JOB_REPORT, Report(job_uid=uid, fence=fence, outcome=Outcome.LOST)),
        "checkpoint": (rpc.JOB_CHECKPOINT_REGISTER, _checkpoint(uid, fence)),
    }
    attempts = []
    async with connected(stack, "trainer") as broker:
        await Bus(broker).publish(_point(uid, fence))
        for what, (asked, message) in messages.items():
            try:
                await Bus(broker).request(asked, message)
                is_accepted = True
            except Conflict:
                is_accepted = False
            attempts.append(Attempt(uid, what, fence, newest, is_accepted))
    return attempts


def _checkpoint(uid: str, fence: int) -> RegisterCheckpoint:
    blob = StoredBlob(id="0" * 24, sha256="0" * 64, bytes=1)
    late = Checkpoint(
        step=STEPS, iteration=STEPS, fence=fence, blob=blob, validation_loss=0.0, created_at=utc_now()
    )
    return RegisterCheckpoint(job_uid=uid, fence=fence, checkpoint=late)


def _point(uid: str, fence: int) -> Event:
    late = LossPoint(
        iteration=STEPS + 5,
        epoch=1,
        step=STEPS + 5,
        train_loss=99.0,
        validation_loss=99.0,
        learning_rate=0.0,
        batch_size=1,
        grad_norm=0.0,
        tokens=1,
        tokens_per_second=1.0,
        timestamp=utc_now(),
    )
    recorded = LossRecorded(
        job_id=uid,
        fence=fence,
        training_mode="manual",
        total=STEPS,
        total_steps=STEPS,
        total_epochs=1,
        point=late,
    )
    return training_event(
        TrainingKind.LOSS, uid, fence, late.iteration, recorded.to_json(), source="/trainer/frozen"
    )
