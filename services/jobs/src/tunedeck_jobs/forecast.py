"""Where a queued job stands and when it is likely to start, from what is known of trainers and of the past.

Nothing is invented: without a trainer that could take the job, or without any
measure of what runs before it, there is no expected start.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tunedeck_contracts.jobs import Device

_NAMES = {Device.GPU: "a GPU", Device.CPU: "a CPU to train on"}


@dataclass(frozen=True)
class Trainer:
    """A trainer that was heard of lately.

    `free_in` is the seconds until its run is likely to end: 0 when it has none, None when nobody can say.
    """

    devices: frozenset[Device]
    free_in: float | None


@dataclass(frozen=True)
class Waiting:
    """A queued job."""

    uid: str
    device: Device | None


@dataclass(frozen=True)
class Standing:
    """What the queue says of one job."""

    position: int
    expected_start: datetime | None
    problem: str | None


@dataclass(frozen=True)
class Line:
    """The queue in its order, with the trainers; `typical` is the seconds that a job lately took, if any."""

    waiting: Sequence[Waiting]
    trainers: Sequence[Trainer]
    typical: float | None


def kinds(devices: Iterable[str]) -> frozenset[Device]:
    """What a trainer's devices are to a job: 'cpu', or anything else as a GPU."""
    return frozenset(Device.CPU if device == "cpu" else Device.GPU for device in devices)


def standings(line: Line, now: datetime) -> dict[str, Standing]:
    """Every queued job's place, as if each job took the typical time and trainers took jobs in order."""
    free = [(trainer.free_in, n) for n, trainer in enumerate(line.trainers) if trainer.free_in is not None]
    heapq.heapify(free)
    found: dict[str, Standing] = {}
    for position, job in enumerate(line.waiting, start=1):
        seconds = _take(free, line, job)
        start = now + timedelta(seconds=seconds) if seconds is not None else None
        found[job.uid] = Standing(position, start, _problem(job, line.trainers))
    return found


def _take(free: list[tuple[float, int]], line: Line, job: Waiting) -> float | None:
    """When the first trainer that fits is free for the job; it is taken from then for the typical time."""
    passed: list[tuple[float, int]] = []
    seconds: float | None = None
    while free and seconds is None:
        at, n = heapq.heappop(free)
        if _fits(job, line.trainers[n]):
            seconds = at
            if line.typical is not None:
                passed.append((at + line.typical, n))
        else:
            passed.append((at, n))
    for one in passed:
        heapq.heappush(free, one)
    return seconds


def _fits(job: Waiting, trainer: Trainer) -> bool:
    return job.device is None or job.device in trainer.devices


def _problem(job: Waiting, trainers: Sequence[Trainer]) -> str | None:
    if job.device is None or any(_fits(job, trainer) for trainer in trainers):
        return None
    return f"No trainer that is there has {_NAMES[job.device]}; the job waits for one."
