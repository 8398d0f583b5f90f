"""Figures that a run measured, for its summary and for docs/reliability.md."""

import asyncio
import contextlib
import math
from dataclasses import dataclass, field

from nats.errors import Error as NatsError

from tests.chaos.connecting import connected
from tunedeck_cli.stack import Stack
from tunedeck_contracts.streams import JOBS

LONGEST_SECONDS = 120


@dataclass
class Figure:
    """Times in seconds of one kind of recovery, and the time that they are to keep."""

    name: str
    goal: float
    seconds: list[float] = field(default_factory=list)

    def line(self) -> str:
        """For people."""
        taken = sorted(self.seconds)
        p95 = taken[math.ceil(0.95 * len(taken)) - 1]
        kept = "kept by p95" if p95 <= self.goal else "MISSED by p95"
        return (
            f"{self.name}: {len(taken)} times, median {taken[len(taken) // 2]:.2f} s, "
            f"p95 {p95:.2f} s, most {taken[-1]:.2f} s (goal {self.goal:g} s, {kept})"
        )


_MEASURED: dict[str, Figure] = {}
_NOTED: list[str] = []


def measured(name: str, seconds: float, *, goal: float) -> None:
    """Keep one measurement."""
    _MEASURED.setdefault(name, Figure(name, goal)).seconds.append(seconds)


def noted(line: str) -> None:
    """Keep a count."""
    _NOTED.append(line)


def figures() -> list[str]:
    """A line for each kind of recovery, and for each count."""
    return [*_NOTED, *(figure.line() for figure in _MEASURED.values())]


def jetstream_answers(stack: Stack) -> None:
    """Wait until nats-server says what a stream holds: its stores are open then, not only its port."""
    asyncio.run(_stream_answers(stack))


async def _stream_answers(stack: Stack) -> None:
    async with asyncio.timeout(LONGEST_SECONDS), connected(stack, "gateway") as broker:
        while True:
            with contextlib.suppress(NatsError):
                await broker.connection.jetstream().stream_info(JOBS.name)
                return
            await asyncio.sleep(0.02)
