"""The life of a service: connect, assert, work until a signal, stop in order."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import structlog
from faststream.nats import NatsBroker
from nats.errors import Error as NatsError

from tunedeck_chassis.broker import GRACEFUL_TIMEOUT
from tunedeck_chassis.loop_watch import watched_event_loop
from tunedeck_chassis.misprovisioned import Misprovisioned
from tunedeck_chassis.provisioning import assert_provisioned
from tunedeck_chassis.requests import RequestServer

log = structlog.get_logger()

PROVISION_SECONDS = 30.0


async def run(
    broker: NatsBroker,
    *,
    prepare: Callable[[], Awaitable[None]] | None = None,
    loops: Sequence[Callable[[], Awaitable[None]]] = (),
    close: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Run a service until SIGTERM or SIGINT.

    `prepare` runs once NATS is there and before any handler (indexes, say),
    `loops` run beside the handlers until the end and are cancelled then; one
    that ends or raises ends the service, so that the supervisor sees it.
    `close` runs last: what was taken is answered before it.
    """
    try:
        async with started(broker, prepare):
            await _worked(loops)
    finally:
        if close is not None:
            await close()


async def _worked(loops: Sequence[Callable[[], Awaitable[None]]]) -> None:
    stopping = asyncio.create_task(_signalled())
    running = [asyncio.create_task(_named(loop)) for loop in loops]
    try:
        finished, _ = await asyncio.wait([stopping, *running], return_when=asyncio.FIRST_COMPLETED)
        for task in finished:
            task.result()
    finally:
        for task in (stopping, *running):
            task.cancel()
        await asyncio.gather(stopping, *running, return_exceptions=True)


@contextlib.asynccontextmanager
async def started(
    broker: NatsBroker, prepare: Callable[[], Awaitable[None]] | None = None
) -> AsyncIterator[None]:
    """The broker, connected to a provisioned server, with its handlers at work; stopped in order."""
    requests: RequestServer = broker.context.get("request_server")
    async with watched_event_loop():
        await broker.connect()
        try:
            await _until_provisioned(broker)
            if prepare is not None:
                await prepare()
            await broker.start()
            await requests.start()
            log.info("started")
            async with broker.context.get("heartbeat").beating():
                yield
        finally:
            broker.context.get("closed_guard").stopping = True
            await requests.stop(GRACEFUL_TIMEOUT)
            try:
                await broker.stop()
            except NatsError as error:
                # While NATS is away nothing can be drained; what was not acknowledged comes again.
                log.warning("stopped_without_nats", error=repr(error))
            log.info("stopped")


async def _named(loop: Callable[[], Awaitable[None]]) -> None:
    await loop()


async def _signalled() -> None:
    stop = asyncio.Event()
    running = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, stop.set)
    await stop.wait()


async def _until_provisioned(broker: NatsBroker) -> None:
    deadline = time.monotonic() + PROVISION_SECONDS
    while True:
        try:
            return await assert_provisioned(broker.connection)
        except Misprovisioned:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.5)
