"""A message that cannot be stored is parked alone."""

import asyncio
import base64
from collections.abc import Callable

import nats
import pytest

from tests.support.parked_letters import parked_letters
from tests.support.telemetry_service import (
    NONE_STORED,
    Telemetry,
    loss,
    new_job,
    until,
)
from tunedeck_contracts import subjects
from tunedeck_contracts.subjects import TrainingKind
from tunedeck_contracts.telemetry import GetStored


def broken(job: str) -> bytes:
    return b"{broken"


def infinite(job: str) -> bytes:
    return loss(job, 42).to_json().replace(b'"train_loss":1.0', b'"train_loss":1e999')


def huge_fence(job: str) -> bytes:
    return loss(job, 42).to_json().replace(b'"fence":1', b'"fence":1' + b"0" * 30)


def huge_step(job: str) -> bytes:
    return loss(job, 42).to_json().replace(b'"step":42', b'"step":1' + b"0" * 30)


def huge_total(job: str) -> bytes:
    return loss(job, 42).to_json().replace(b'"total":500', b'"total":1' + b"0" * 30)


@pytest.mark.parametrize(
    "bad", [broken, infinite, huge_fence, huge_step, huge_total], ids=lambda one: one.__name__
)
async def test_one_bad_point_among_99_good_ones_is_parked_alone(
    telemetry: Telemetry, nats_url: str, bad: Callable[[str], bytes]
) -> None:
    job = new_job()
    subject = subjects.training_event(TrainingKind.LOSS, job)
    bodies = [loss(job, n).to_json() for n in range(1, 100)]
    bodies.insert(42, bad(job))
    async with await nats.connect(nats_url) as client:
        await asyncio.gather(*(client.jetstream().publish(subject, body) for body in bodies))

    async def complete() -> bool:
        asked = GetStored(job_id=job, fence=1, after=NONE_STORED)
        return (await telemetry.curves.stored(asked)).losses == 99

    # Longer than `ack_wait`: a batch that the client lost comes again after it.
    await until(complete, seconds=40)
    assert [base64.b64decode(one.data) for one in await parked_letters(nats_url, subject)] == [bad(job)]
