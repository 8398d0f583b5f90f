"""What services have parked in the dead-letter stream."""

import asyncio

import nats

from tunedeck_chassis.dead_letters import DeadLetters
from tunedeck_contracts.telemetry import DeadLetter

SECONDS = 20.0


async def letters_of(nats_url: str, subject: str) -> list[DeadLetter]:
    """The letters of messages of a subject, now."""
    async with await nats.connect(nats_url) as client:
        parked = [one.letter async for one in DeadLetters(client).all()]
    return [one for one in parked if one is not None and one.subject == subject]


async def parked_letters(nats_url: str, subject: str) -> list[DeadLetter]:
    """The letters of messages of a subject, once there are any."""
    async with asyncio.timeout(SECONDS):
        while not (letters := await letters_of(nats_url, subject)):
            await asyncio.sleep(0.05)
    return letters
