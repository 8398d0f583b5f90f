"""Processes are killed while clients write and jobs train: nothing is lost, and nothing is there twice."""

from pathlib import Path

import pytest

from tests.chaos import reading, verdicts
from tests.chaos.client import PatientClient, ended
from tests.chaos.history import History
from tests.chaos.nemesis import VICTIMS, Nemesis, plan
from tests.chaos.recovery import noted
from tests.chaos.scale import IS_LONG
from tests.chaos.trainings import event_verdicts, training_verdicts
from tests.chaos.writers import Steerer, Writer
from tests.support.servers import wait_for
from tunedeck_cli.stack import Stack

KILLS = 200 if IS_LONG else 10
LEAST_KILLS = 12 if IS_LONG else 0
"""Of each victim; a few find nobody, such as a child between two trainings, or after the only one."""
LEAST_PAUSES = 5 if IS_LONG else 0
"""In a few seconds the job may not have begun to train."""
MOST_SECONDS_BETWEEN = 3.0 if IS_LONG else 2.0
TRAININGS = 12 if IS_LONG else 1
WRITERS = 2
SETTLE_SECONDS = 600 if IS_LONG else 240
WRITTEN_SECONDS = 60

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400 if IS_LONG else 900)]


def test_kills_at_random_moments_lose_nothing(
    chaos_stack: Stack,
    client: PatientClient,
    nemesis: Nemesis,
    dataset: str,
    undisturbed: list[float],
    seed: int,
    tmp_path: Path,
) -> None:
    history = History(tmp_path / "acknowledged.jsonl")
    trained = [client.train(f"trained-{number}", dataset) for number in range(TRAININGS)]
    writers = [Writer(number, seed, chaos_stack.api_url, dataset, history) for number in range(WRITERS)]
    steerer = Steerer(trained[0], seed, chaos_stack.api_url)
    for thread in (*writers, steerer):
        thread.start()
    killed = nemesis.carry_out(plan(seed, KILLS, MOST_SECONDS_BETWEEN))
    beside = len(history.read())
    wait_for(
        "more writes than kills",
        lambda: len(history.read()) > KILLS or any(writer.problem for writer in writers),
        WRITTEN_SECONDS,
    )
    for thread in (*writers, steerer):
        thread.stop()
    history.close()
    assert [thread.problem for thread in (*writers, steerer)] == [None] * (WRITERS + 1)
    assert {victim: killed[victim] for victim in VICTIMS if killed[victim] < LEAST_KILLS} == {}
    for uid in trained:
        client.wait(uid, ended, SETTLE_SECONDS)

    acknowledged = history.read()
    assert killed.total() >= KILLS * 3 // 4
    assert beside > 0
    assert steerer.pauses >= LEAST_PAUSES
    noted(
        f"{killed.total()} kills beside {beside} acknowledged writes "
        f"and {steerer.pauses} pauses of a job that trains"
    )
    jobs = reading.all_jobs(client)
    events = reading.told(chaos_stack, client)
    said = [
        *verdicts.lost_writes(acknowledged, reading.stored(client, jobs)),
        *verdicts.repeated_names([job["name"] for job in jobs.values()]),
        *(line for uid, job in jobs.items() for line in event_verdicts(job, events.get(uid, []))),
        *(
            line
            for uid in trained
            for line in training_verdicts(client, jobs[uid], events.get(uid, []), undisturbed)
        ),
    ]
    assert said == []
