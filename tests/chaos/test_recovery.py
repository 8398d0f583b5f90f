"""How long recoveries take. Only in the long form, on a machine with nothing else to do."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.chaos.client import PatientClient, ended, trains
from tests.chaos.nemesis import CHILD, Nemesis, frozen
from tests.chaos.recovery import jetstream_answers, measured
from tests.chaos.scale import IS_LONG
from tests.support.servers import wait_for
from tests.support.tiny_model import build_tiny_model
from tunedeck_cli import ports
from tunedeck_cli.home import Home
from tunedeck_cli.stack import Stack

TIMES = 20
ENDLESS = 100_000
BACK_SECONDS = 120

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not IS_LONG, reason="figures of recovery are measured by `make chaos`"),
]


@pytest.fixture(scope="module")
def plain_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack as it is delivered: a lease of 30 s."""
    home = Home(tmp_path_factory.mktemp("recovery") / "home")
    home.create()
    build_tiny_model(home.models / "local/tiny")
    # Trainers die here more often than a job may lose them.
    patient = {"TUNEDECK_MAX_ATTEMPTS": "1000", "TUNEDECK_LOST_REST_SECONDS": "0", "HF_HUB_OFFLINE": "1"}
    whole = Stack(home, wanted=ports.ANY, environment=patient)
    whole.start()
    yield whole
    whole.stop()


@pytest.fixture(scope="module")
def running(plain_stack: Stack) -> Iterator[tuple[PatientClient, str]]:
    """A client, and a job that trains as long as it is let."""
    client = PatientClient(plain_stack.api_url)
    uid = client.train("endless", client.create_dataset("Rows", 40)["uid"], steps=ENDLESS)
    yield client, uid
    client.close()


@pytest.mark.parametrize("victim", ["trainer", CHILD])
def test_a_job_is_queued_again_soon_after_a_death(
    plain_stack: Stack, running: tuple[PatientClient, str], victim: str
) -> None:
    (client, uid), nemesis = running, Nemesis(plain_stack)
    for _ in range(TIMES):
        client.wait(uid, trains, BACK_SECONDS)
        wait_for("a training process", lambda: nemesis.pid(CHILD) is not None, BACK_SECONDS)
        rev = client.job(uid)["rev"]
        struck_at = time.monotonic()
        assert nemesis.kill(victim)
        client.wait(uid, lambda job, former=rev: job["rev"] > former, BACK_SECONDS)
        measured(f"queued again after the death of a {victim}", time.monotonic() - struck_at, goal=3)


def test_a_job_of_a_silent_trainer_is_queued_again_after_its_lease(
    plain_stack: Stack, running: tuple[PatientClient, str]
) -> None:
    client, uid = running
    client.wait(uid, trains, BACK_SECONDS)
    pid = Nemesis(plain_stack).pid("trainer")
    assert pid is not None
    with frozen(pid):
        silent_at = time.monotonic()
        client.wait(uid, lambda job: job["status"] == "queued", BACK_SECONDS)
        measured("queued again after a trainer fell silent", time.monotonic() - silent_at, goal=35)


@pytest.mark.parametrize(("server", "goal"), [("nats", 1), ("mongod", 5)])
def test_a_killed_server_can_be_written_to_soon(
    plain_stack: Stack, running: tuple[PatientClient, str], server: str, goal: float, tmp_path: Path
) -> None:
    nemesis = Nemesis(plain_stack)
    name = {"nats": "NATS", "mongod": "MongoDB"}[server]
    port = plain_stack.ports.nats if server == "nats" else plain_stack.ports.mongo
    for number in range(TIMES):
        former = nemesis.pid(server)
        assert former is not None
        killed_at = time.monotonic()
        assert nemesis.kill(server)
        nemesis.until_replaced(server, former)
        if server == "mongod":
            wait_for(server, lambda: ports.accepts(port))
            _write(plain_stack.api_url, f"after kill {number}")
        else:
            jetstream_answers(plain_stack)
        measured(f"{name} usable after a kill", time.monotonic() - killed_at, goal=goal)
        # Who dies within its first second is held back by the supervisor: that is not measured here.
        time.sleep(2)


def _write(url: str, name: str) -> None:
    with httpx.Client(base_url=url, timeout=10) as http:
        preset = {"name": name, "hyperparameters": {"lora_r": 8}}
        wait_for("a write", lambda: http.post("/api/hyperparameters", json=preset).status_code == 201)


def test_a_cancel_is_prompt(plain_stack: Stack, running: tuple[PatientClient, str]) -> None:
    client, uid = running
    dataset = client.job(uid)["configuration"]["dataset"]["uid"]
    for number in range(TIMES):
        client.wait(uid, trains, BACK_SECONDS)
        asked_at = time.monotonic()
        client.send("POST", f"/api/jobs/{uid}/cancel")
        client.wait(uid, ended, BACK_SECONDS)
        measured("cancelled while training", time.monotonic() - asked_at, goal=2)
        uid = client.train(f"cancelled-{number}", dataset, steps=ENDLESS)
    client.send("POST", f"/api/jobs/{uid}/cancel")
