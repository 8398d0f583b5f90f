"""A malformed message on each subject of the streams is parked, and every service lives on."""

import asyncio
import uuid
from typing import Any

import pytest

from tests.chaos.nemesis import SERVICES
from tests.e2e.api import Api
from tunedeck_chassis.connection import connect
from tunedeck_chassis.dead_letters import DeadLetters
from tunedeck_cli.stack import Stack
from tunedeck_contracts import subjects
from tunedeck_contracts.permissions import OPERATOR
from tunedeck_contracts.subjects import TrainingKind
from tunedeck_contracts.telemetry import DeadLetter

PARKED_WITHIN = 15


def pids(stack: Stack) -> dict[str, int | None]:
    """The process of each service: one that died would be well again, as another."""
    return {service: stack.supervisor.pid(service) for service in SERVICES}


async def parked_after_publishing(stack: Stack, subject: str, body: bytes) -> DeadLetter:
    """Publish, then wait for the dead letter of this subject."""
    client = await connect(stack.settings(OPERATOR), OPERATOR)
    try:
        await client.jetstream().publish(subject, body)
        async with asyncio.timeout(PARKED_WITHIN):
            while True:
                async for parked in DeadLetters(client).all():
                    if parked.letter is not None and parked.letter.subject == subject:
                        return parked.letter
                await asyncio.sleep(0.05)
    finally:
        await client.close()


@pytest.mark.parametrize("kind", [*TrainingKind, None])
@pytest.mark.parametrize("body", [b"\xff\x00 no json", b"{}"])
def test_it_is_parked_at_its_first_delivery(
    api: Api, stack: Any, kind: TrainingKind | None, body: bytes
) -> None:
    uid = uuid.uuid4().hex
    subject = subjects.training_event(kind, uid) if kind else subjects.job_event(uid)
    before = pids(stack.stack)
    letter = asyncio.run(parked_after_publishing(stack.stack, subject, body))
    assert (letter.service, letter.deliveries) == ("telemetry", 1)
    assert api.health(api.main).status_code == 200
    assert pids(stack.stack) == before


def test_a_wake_up_carries_no_state_so_any_body_wakes(api: Api, stack: Any) -> None:
    before = pids(stack.stack)

    async def wake() -> None:
        client = await connect(stack.stack.settings("jobs"), "jobs")
        await client.jetstream().publish(subjects.JOB_START, b"\xff")
        await client.close()

    asyncio.run(wake())
    assert api.health(api.main).status_code == 200
    assert pids(stack.stack) == before
