"""The embedded servers: started again when they die, moved, and gone when stopped."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats as nats_py
import psutil
import pymongo
import pytest
from nats.errors import Error as NatsError
from pymongo.database import Database
from pymongo.errors import OperationFailure

from tests.support.servers import MongoServer, NatsServer, provision, wait_for
from tunedeck_chassis import mongo
from tunedeck_chassis.connection import connect
from tunedeck_cli import ports
from tunedeck_cli.errors import CommandFailed
from tunedeck_cli.home import Home
from tunedeck_cli.stack import Stack
from tunedeck_contracts import subjects
from tunedeck_contracts.streams import JOBS


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Stack]:
    """nats-server and mongod under supervisord, without the services."""
    stack = Stack(Home(tmp_path / "home"), wanted=ports.ANY, with_services=False)
    stack.start()
    yield stack
    stack.stop()


@contextlib.contextmanager
def database(stack: Stack) -> Iterator[Database[dict[str, Any]]]:
    """What the jobs service has, as that service."""
    with pymongo.MongoClient(stack.mongo_url, **mongo.login(stack.settings("jobs"))) as client:
        yield client["tunedeck_jobs"]


def family() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def living(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [one for one in processes if lives(one)]


@pytest.mark.connected
@pytest.mark.parametrize("program", ["nats", "mongod"])
def test_a_server_that_dies_is_started_again(servers: Stack, program: str) -> None:
    first = servers.supervisor.pid(program)
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_for("another process", lambda: servers.supervisor.pid(program) not in (None, first))
    port = servers.ports.nats if program == "nats" else servers.ports.mongo
    wait_for("its port", lambda: ports.accepts(port))


@pytest.mark.connected
def test_stopping_leaves_no_process_and_keeps_the_data(tmp_path: Path) -> None:
    before = family()
    stack = Stack(Home(tmp_path / "home"), wanted=ports.ANY, with_services=False)
    stack.start()
    started = [one for one in family() if one not in before]
    with database(stack) as jobs:
        jobs["rows"].insert_one({"_id": 1})
    stack.stop()
    assert len(started) >= 3
    assert living(started) == []

    # The second start has other ports, which the replica set has to follow.
    stack.start()
    with database(stack) as jobs:
        assert jobs["rows"].count_documents({}) == 1
    stack.stop()


@pytest.mark.connected
async def test_a_home_of_before_there_were_users_keeps_its_data_and_gets_them(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    mongod, nats = MongoServer(tmp_path / "mongo"), NatsServer(tmp_path / "nats")
    mongod.start()
    nats.start()
    with pymongo.MongoClient(mongod.url) as client:
        client["tunedeck_jobs"]["jobs"].insert_one({"_id": "of before"})
    await provision(nats.url)
    publisher = await nats_py.connect(nats.url)
    await publisher.jetstream().publish(subjects.job_event("a"), b"{}")
    await publisher.close()
    mongod.stop()
    nats.stop()
    shutil.copytree(mongod.folder / "data", home.mongo_data, dirs_exist_ok=True)
    shutil.copytree(nats.folder / "store", home.nats_data, dirs_exist_ok=True)

    stack = Stack(home, wanted=ports.ANY, with_services=False)
    await asyncio.to_thread(stack.start)
    try:
        with database(stack) as jobs:
            assert jobs["jobs"].find_one() == {"_id": "of before"}
        with pymongo.MongoClient(stack.mongo_url) as nobody, pytest.raises(OperationFailure):
            nobody["tunedeck_jobs"]["jobs"].find_one()
        with pytest.raises(NatsError, match=r"(?i)authorization"):
            await nats_py.connect(stack.nats_url, allow_reconnect=False)
        operator = await connect(stack.settings("operator"), "operator")
        assert (await operator.jetstream().stream_info(JOBS.name)).state.messages == 1
        await operator.close()
    finally:
        await asyncio.to_thread(stack.stop)


@pytest.mark.connected
def test_servers_do_not_outlive_supervisord(servers: Stack) -> None:
    nats, mongod = servers.supervisor.pid("nats"), servers.supervisor.pid("mongod")
    assert nats is not None
    assert mongod is not None
    below = [psutil.Process(nats), psutil.Process(mongod)]
    parent = below[0].parent()
    assert parent is not None
    parent.kill()
    wait_for("the end of the servers", lambda: living(below) == [])


@pytest.mark.connected
def test_the_keys_command_logs_in_as_the_gateway(servers: Stack) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TUNEDECK_")}
    made = subprocess.run(
        [sys.executable, "-m", "tunedeck_cli.main", "keys", "create", "--name", "first"],
        env={**inherited, "TUNEDECK_HOME": str(servers.home.root)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    with pymongo.MongoClient(servers.mongo_url, **mongo.login(servers.settings("gateway"))) as client:
        assert [key["name"] for key in client["tunedeck_gateway"]["keys"].find()] == ["first"]


@pytest.mark.connected
def test_second_stack_in_one_home_is_refused(servers: Stack) -> None:
    with pytest.raises(CommandFailed, match="already runs"):
        Stack(servers.home, wanted=ports.ANY, with_services=False).start()
    assert servers.supervisor.running


@pytest.mark.connected
def test_killed_mongod_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    server = MongoServer(tmp_path)
    server.start()
    with pymongo.MongoClient(server.url, w="majority", journal=True) as client:
        client["probe"]["rows"].insert_many([{"_id": number} for number in range(50)])
        server.kill()
        server.start()
        assert client["probe"]["rows"].count_documents({}) == 50
    server.stop()
