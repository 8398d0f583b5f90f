"""The stack that is struck: the real one, with a short lease, and what its clients need."""

from collections.abc import Iterator

import pytest

from tests.chaos import reading
from tests.chaos.client import STEPS, PatientClient
from tests.chaos.nemesis import Nemesis
from tests.chaos.recovery import figures
from tests.chaos.scale import SEED, SHORT_TIMES
from tests.support.tiny_model import build_tiny_model
from tunedeck_chassis import crash_points
from tunedeck_cli import ports
from tunedeck_cli.home import Home
from tunedeck_cli.stack import Stack


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How to see the same again, and what was measured."""
    terminalreporter.write_line(f"chaos: TUNEDECK_CHAOS_SEED={SEED} replays the strikes")
    for line in figures():
        terminalreporter.write_line(f"chaos: {line}")


@pytest.fixture(scope="session")
def seed() -> int:
    """What decides who is struck and when; TUNEDECK_CHAOS_SEED sets it."""
    return SEED


@pytest.fixture(scope="session")
def chaos_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All processes in a temporary home, with short times; its crash points are armed in `home.run`."""
    home = Home(tmp_path_factory.mktemp("chaos") / "home")
    home.create()
    build_tiny_model(home.models / "local/tiny")
    environment = {**SHORT_TIMES, crash_points.VARIABLE: str(home.run), "HF_HUB_OFFLINE": "1"}
    whole = Stack(home, wanted=ports.ANY, environment=environment)
    whole.start()
    yield whole
    whole.stop()


@pytest.fixture(scope="session")
def client(chaos_stack: Stack) -> Iterator[PatientClient]:
    """A client that sends again what was not answered."""
    patient = PatientClient(chaos_stack.api_url)
    yield patient
    patient.close()


@pytest.fixture(scope="session")
def nemesis(chaos_stack: Stack) -> Nemesis:
    """What strikes the stack."""
    return Nemesis(chaos_stack)


@pytest.fixture(scope="session")
def dataset(client: PatientClient) -> str:
    """The rows that the jobs train on."""
    return str(client.create_dataset("Chaos rows", 40)["uid"])


@pytest.fixture(scope="session")
def undisturbed(client: PatientClient, dataset: str) -> list[float]:
    """The losses of a job that nothing happened to: the others train the same steps."""
    uid = client.train("undisturbed", dataset)
    job = client.wait(uid, lambda one: one["status"] in ("completed", "failed"), 240)
    assert job["status"] == "completed", job["failure"]
    losses = [point["train_loss"] for point in reading.points(client, uid, STEPS)]
    assert len(losses) == STEPS
    return losses
