"""A nats-server and a mongod that let in their users alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import MongoServer, NatsServer
from tunedeck_chassis import secrets


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `tunedeck secrets` makes."""
    folder = tmp_path_factory.mktemp("users") / "secrets"
    secrets.create(folder)
    return folder


@pytest.fixture(scope="module")
def guarded_nats(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """Without any stream."""
    server = NatsServer(tmp_path_factory.mktemp("nats"), secrets=folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def guarded_mongo(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    """Neither initiated nor with any user yet."""
    server = MongoServer(tmp_path_factory.mktemp("mongo"), secrets=folder)
    server.start()
    yield server
    server.stop()
