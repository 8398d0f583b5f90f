"""NATS loses its store: streams, consumers and events are there again, and nobody has to do anything."""

import shutil
from collections.abc import Sequence

import pytest

from tests.chaos import reading
from tests.chaos.client import PatientClient, ended
from tests.chaos.nemesis import SERVICES, Nemesis
from tests.chaos.scale import IS_LONG
from tests.chaos.trainings import event_verdicts, training_verdicts
from tunedeck_cli.stack import Stack

ENDED_SECONDS = 240

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    "stopped",
    [
        pytest.param(("nats",), id="running"),
        pytest.param(
            (*SERVICES, "nats"),
            id="stopped",
            marks=pytest.mark.skipif(not IS_LONG, reason="two rebuilds are for `make chaos`"),
        ),
    ],
)
def test_the_streams_are_rebuilt_when_the_store_is_lost(
    chaos_stack: Stack,
    client: PatientClient,
    nemesis: Nemesis,
    dataset: str,
    undisturbed: list[float],
    stopped: Sequence[str],
) -> None:
    said_of = " ".join(stopped)
    before = client.create_job(f"before the loss, {said_of}", dataset, start=False)["uid"]
    uid = client.seen_training(f"trained through the loss, {said_of}", dataset)
    with nemesis.away(*stopped):
        shutil.rmtree(chaos_stack.home.nats_data / "jetstream")
    job = client.wait(uid, ended, ENDED_SECONDS)
    after = client.create_job(f"after the loss, {said_of}", dataset, start=False)["uid"]
    told = reading.told(chaos_stack, client, uid, before, after)
    said = [
        *training_verdicts(client, job, told[uid], undisturbed),
        *event_verdicts(client.job(before), told[before]),
        *event_verdicts(client.job(after), told[after]),
    ]
    assert said == []
