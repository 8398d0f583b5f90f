"""What a nats-server has lost or cannot write is mended beside it: no human, and no service, has to do it."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError

from tests.support.servers import wait_for
from tests.support.small_disk import fill, needs_root, small_disk
from tunedeck_chassis.connection import connect
from tunedeck_chassis.misprovisioned import Misprovisioned
from tunedeck_chassis.provisioning import assert_provisioned
from tunedeck_cli import ports
from tunedeck_cli.home import Home
from tunedeck_cli.nats_watch import monitor, problem
from tunedeck_cli.stack import Stack
from tunedeck_contracts import subjects

DISK = 512 * 2**20
MENDED_SECONDS = 60

pytestmark = pytest.mark.connected


@contextmanager
def servers(home: Path) -> Iterator[Stack]:
    """nats-server and mongod under supervisord, with what keeps them well."""
    stack = Stack(Home(home), wanted=ports.ANY, with_services=False)
    stack.start()
    try:
        yield stack
    finally:
        stack.stop()


@asynccontextmanager
async def connected(stack: Stack) -> AsyncIterator[Client]:
    client = await connect(stack.settings("jobs"), "jobs")
    try:
        yield client
    finally:
        await client.close()


async def is_provisioned(stack: Stack) -> bool:
    """Whether NATS has what the services need."""
    with suppress(Misprovisioned, NatsError, TimeoutError, OSError):
        async with connected(stack) as client:
            await assert_provisioned(client)
            return True
    return False


def is_broken(stack: Stack) -> bool:
    """Whether the server itself names a stream that it cannot write."""
    with monitor(stack.ports.nats_health) as server:
        return not asyncio.run(takes(stack, 2**17)) and "write error" in (problem(server) or "")


async def takes(stack: Stack, size: int) -> bool:
    """Whether the stream of the jobs acknowledges a message of so many bytes."""
    with suppress(NatsError, TimeoutError, OSError):
        async with connected(stack) as client:
            await client.jetstream(timeout=2).publish(subjects.JOB_START, b"x" * size)
            return True
    return False


def test_streams_that_are_gone_are_made_again(tmp_path: Path) -> None:
    with servers(tmp_path / "home") as stack:
        assert asyncio.run(is_provisioned(stack))
        shutil.rmtree(stack.home.nats_data / "jetstream")
        former = stack.supervisor.pid("nats")
        assert former is not None
        os.kill(former, signal.SIGKILL)
        wait_for("another nats-server", lambda: stack.supervisor.pid("nats") not in (None, former))
        wait_for("its port", lambda: ports.accepts(stack.ports.nats))
        wait_for("the streams", lambda: asyncio.run(is_provisioned(stack)), MENDED_SECONDS)


@needs_root
def test_a_server_that_stays_broken_after_a_full_disk_is_restarted() -> None:
    with small_disk(DISK) as disk, servers(disk / "home") as stack:
        wait_for("an acknowledgement", lambda: asyncio.run(takes(stack, 10)))
        fill(disk / "filler", DISK)
        wait_for("a broken stream", lambda: is_broken(stack))
        (disk / "filler").unlink()
        wait_for("an acknowledgement", lambda: asyncio.run(takes(stack, 2**17)), MENDED_SECONDS)
        assert "nats_restarted" in stack.log_tail("nats-watch", 50)
