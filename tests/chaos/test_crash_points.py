"""A service dies at each named point between two writes: what it was at is done all the same, once."""

import random
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.chaos import reading
from tests.chaos.client import PatientClient, ended
from tests.chaos.scale import IS_LONG, SEED
from tests.chaos.trainings import training_verdicts
from tests.support.servers import wait_for
from tunedeck_chassis import crash_points
from tunedeck_cli.stack import Stack

ROOT = Path(__file__).parents[2]
ENDED_SECONDS = 240
BEFORE_TRAINING = ("trainer.claimed", "trainer.run_noted")
LEADING_TO = {"jobs.lost": ["trainer.claimed"]}
"""Points that are reached only after a crash at another one."""
PASSED_BY = ("trainer.checkpoint_registered",)
"""Not reached when the jobs service died over the same checkpoint: the trainer keeps it for the next."""

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800 if IS_LONG else 600)]


def names() -> list[str]:
    """Every crash point in the sources."""
    calls = re.compile(r"\breached\(\s*\"([^\"]+)\"")
    found = {
        name
        for folder in ("services", "libs")
        for file in sorted((ROOT / folder).glob("*/src/*/**/*.py"))
        if file.name != "crash_points.py"
        for name in calls.findall(file.read_text())
    }
    return sorted(found)


def each_alone_or_some_at_once() -> list[list[str]]:
    """In the long form one at a time; in the short one, in one job's life, those that cost no new training.

    Of the others, which end an attempt, the seed chooses two.
    """
    if IS_LONG:
        return [[name, *LEADING_TO.get(name, [])] for name in names()]
    ending = [name for name in names() if name.startswith("trainer.") and name not in BEFORE_TRAINING]
    at_once = [name for name in names() if name not in ending]
    return [at_once + random.Random(SEED).sample([name for name in ending if name not in PASSED_BY], 2)]


@pytest.mark.parametrize("armed", each_alone_or_some_at_once(), ids=lambda armed: armed[0].split(".")[-1])
def test_a_job_survives_a_crash_between_two_writes(
    chaos_stack: Stack,
    client: PatientClient,
    dataset: str,
    undisturbed: list[float],
    armed: Sequence[str],
) -> None:
    for name in armed:
        crash_points.arm(chaos_stack.home.run, name)
    uid = client.train(f"crashed at {' '.join(armed)}"[:190], dataset)
    job = client.wait(uid, ended, ENDED_SECONDS)
    # What comes after the report is reached after the job's end is seen.
    run = chaos_stack.home.run
    for name in armed:
        wait_for(f"the crash at {name}", lambda at=name: not crash_points.is_armed(run, at))
    told = reading.told(chaos_stack, client, uid)[uid]
    assert training_verdicts(client, job, told, undisturbed) == []
