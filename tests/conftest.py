"""The real servers that connected tests use, one of each a test run, and the whole stack."""

import gc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

from tests.chaos.scale import ONE_THREAD, SEED
from tests.e2e.api import Api
from tests.support.hub_models import files_of
from tests.support.hub_server import HubServer
from tests.support.hub_uploads import WRITER_TOKEN
from tests.support.servers import MongoServer, NatsServer
from tests.support.tiny_model import build_tiny_model
from tunedeck_cli import bundled_model, ports
from tunedeck_cli.home import Home
from tunedeck_cli.stack import Stack

# An example that takes long says something of the machine.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")

TINY_MODEL = "local/tiny"
HUB_MODEL = "hub-only/tiny-gpt2"
MOST_HELD_UP = 20
"""A busy machine may hold up a part for seconds, now and then."""


def pytest_report_header() -> str:
    """How to have the same strikes again."""
    return f"TUNEDECK_CHAOS_SEED={SEED}"


def pytest_collection_finish() -> None:
    """Keep the garbage collector from walking what all test modules have imported.

    A walk takes as long as a second by the end, in which a service in this process answers nobody.
    """
    gc.freeze()


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """nats-server with JetStream. A test that kills it makes one of its own."""
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def nats_url(nats_server: NatsServer) -> str:
    """The address of the session's nats-server."""
    return nats_server.url


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    """mongod, a replica set of one. A test that kills it makes one of its own."""
    server = MongoServer(tmp_path_factory.mktemp("mongo"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mongo_url(mongo_server: MongoServer) -> str:
    """The address of the session's mongod."""
    return mongo_server.url


@pytest.fixture(scope="session")
def hub() -> Iterator[HubServer]:
    """A server in the Hub's place. A test publishes its own models there."""
    server = HubServer()
    server.start()
    yield server
    server.stop()


@dataclass(frozen=True)
class RunningStack:
    """The whole stack. The model to train is `local/tiny`; the local Hub has it as `hub-only/tiny-gpt2`."""

    api_url: str
    monitor_url: str
    home: Path
    stack: Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, hub: HubServer) -> Iterator[RunningStack]:
    """All processes on free ports in a temporary home, with the local Hub."""
    home = Home(tmp_path_factory.mktemp("stack") / "home")
    home.create()
    build_tiny_model(home.models / TINY_MODEL)
    hub.add(HUB_MODEL, files_of(home.models / TINY_MODEL), license="mit")
    bundled = bundled_model.folder(home.models)
    bundled.parent.mkdir(parents=True)
    # Half a gigabyte that set-up has converted: shared, not copied.
    bundled.symlink_to(bundled_model.folder(Home.from_environment().models))
    own_hub = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home.root / "huggingface"), "HF_TOKEN": WRITER_TOKEN}
    whole = Stack(home, wanted=ports.ANY, environment={**own_hub, **ONE_THREAD})
    whole.start()
    yield RunningStack(whole.api_url, whole.monitor_url, home.root, whole)
    whole.stop()
    assert refusals(home) == [], (
        "a service lacks a permission: contracts/permissions.py, chassis/mongo_users.py"
    )


def refusals(home: Home) -> list[str]:
    """What NATS or MongoDB has refused to a service, as the logs say it."""
    lines = [
        f"{log.name}: {line}"
        for log in sorted(home.logs.glob("*.log*"))
        for line in log.read_text(errors="replace").splitlines()
        if "Violation - Subject" in line or "not authorized on" in line
    ]
    # Who makes the first user ends its session as nobody, once there is one.
    return [line for line in lines if "endSessions" not in line]


@pytest.fixture(scope="session")
def api(stack: RunningStack) -> Iterator[Api]:
    """A client of the whole stack."""
    client = Api(stack.api_url, stack.monitor_url)
    yield client
    client.close()
    assert client.held_up <= MOST_HELD_UP, "reads of a stack that nobody strikes are refused"


@pytest.fixture(scope="session")
def models_dir(stack: RunningStack) -> Path:
    """The folder of the stack's models."""
    return stack.stack.home.models
