"""Makes the streams and durable consumers, and asserts them.

`python -m tunedeck_chassis.provisioning` is the only thing that creates them:
a durable that exists silently keeps its old configuration, so a service
asserts what it needs and says what differs.
"""

import asyncio
import sys

import nats
import structlog
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    PersistMode,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import NotFoundError

from tunedeck_chassis.logs import configure
from tunedeck_chassis.settings import ServiceSettings
from tunedeck_contracts.streams import CONSUMERS, MAX_PAYLOAD, STREAMS, Consumer, Stream

log = structlog.get_logger()

CONNECT_SECONDS = 30.0


class Misprovisioned(Exception):
    """NATS does not have what this service needs; the message says what differs and what to run."""


def stream_config(stream: Stream) -> StreamConfig:
    """The stream as JetStream takes it. Ages in seconds, as nats-py has them."""
    return StreamConfig(
        name=stream.name,
        subjects=list(stream.subjects),
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        max_age=stream.max_age.total_seconds(),
        duplicate_window=stream.duplicate_window.total_seconds(),
        num_replicas=1,
        persist_mode=PersistMode.ASYNC if stream.asynchronous else None,
    )


def consumer_config(consumer: Consumer) -> ConsumerConfig:
    """The durable as JetStream takes it. `backoff` stays unset: it would override `ack_wait`."""
    return ConsumerConfig(
        durable_name=consumer.name,
        filter_subject=consumer.filter_subject,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=consumer.ack_wait.total_seconds(),
        max_deliver=consumer.max_deliver,
        max_ack_pending=consumer.max_ack_pending,
    )


async def provision(nats_url: str) -> None:
    """Create or update every stream and consumer. Running it again changes nothing."""
    client = await _connect(nats_url)
    try:
        assert_payload(client)
        jetstream = client.jetstream()
        for stream in STREAMS:
            await _provision_stream(jetstream, stream)
        for consumer in CONSUMERS:
            await jetstream.add_consumer(consumer.stream, consumer_config(consumer))
    finally:
        await client.close()


async def _provision_stream(jetstream: JetStreamContext, stream: Stream) -> None:
    config = stream_config(stream)
    try:
        await jetstream.stream_info(stream.name)
    except NotFoundError:
        await jetstream.add_stream(config)
        log.info("stream_created", stream=stream.name)
    else:
        await jetstream.update_stream(config)


async def _connect(nats_url: str) -> Client:
    deadline = asyncio.get_running_loop().time() + CONNECT_SECONDS
    while True:
        try:
            return await nats.connect(nats_url, allow_reconnect=False, connect_timeout=2)
        except Exception as error:
            if asyncio.get_running_loop().time() > deadline:
                raise Misprovisioned(f"NATS at {nats_url} cannot be reached: {error!r}") from error
            await asyncio.sleep(0.2)


def assert_payload(client: Client) -> None:
    """Refuse a server whose `max_payload` is not ours: a reply could be lost on it."""
    if client.max_payload != MAX_PAYLOAD:
        raise Misprovisioned(
            f"NATS has max_payload {client.max_payload}, Tunedeck needs {MAX_PAYLOAD}: "
            "set `max_payload: 8MB` in the server's configuration."
        )


async def assert_provisioned(client: Client) -> None:
    """Raise Misprovisioned unless every stream and consumer is as `contracts.streams` says."""
    assert_payload(client)
    jetstream = client.jetstream()
    differences = [
        *[line for stream in STREAMS for line in await _stream_differences(jetstream, stream)],
        *[line for consumer in CONSUMERS for line in await _consumer_differences(jetstream, consumer)],
    ]
    if differences:
        raise Misprovisioned("; ".join(differences) + ". Run `tunedeck provision`.")


async def _stream_differences(jetstream: JetStreamContext, stream: Stream) -> list[str]:
    try:
        found = (await jetstream.stream_info(stream.name)).config
    except NotFoundError:
        return [f"stream {stream.name} is missing"]
    wanted = stream_config(stream)
    return [
        f"stream {stream.name} has {name}={getattr(found, name)!r}, needs {getattr(wanted, name)!r}"
        for name in ("subjects", "max_age", "duplicate_window", "persist_mode")
        if (getattr(found, name) or None) != (getattr(wanted, name) or None)
    ]


async def _consumer_differences(jetstream: JetStreamContext, consumer: Consumer) -> list[str]:
    try:
        found = (await jetstream.consumer_info(consumer.stream, consumer.name)).config
    except NotFoundError:
        return [f"consumer {consumer.name} is missing"]
    wanted = consumer_config(consumer)
    return [
        f"consumer {consumer.name} has {name}={getattr(found, name)!r}, needs {getattr(wanted, name)!r}"
        for name in ("filter_subject", "ack_wait", "max_deliver", "max_ack_pending")
        if getattr(found, name) != getattr(wanted, name)
    ]


def main() -> None:
    """Entry point of the one-shot that a deployment runs first."""
    settings = ServiceSettings()
    configure("provision", settings.log_level)
    try:
        asyncio.run(provision(settings.nats_url))
    except Misprovisioned as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
