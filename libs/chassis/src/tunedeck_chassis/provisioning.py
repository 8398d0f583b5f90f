"""Prepares NATS and MongoDB for the services, and asserts that NATS is prepared.

`python -m tunedeck_chassis.provisioning` is the only thing that initiates the replica set and makes users,
streams and durable consumers. What is there is changed where that can be done without losing anything, and
what cannot be changed is named. A durable that exists silently keeps its old configuration, so a service
asserts what it needs and says what differs.
"""

import asyncio
import sys
from enum import Enum
from pathlib import Path
from typing import Any

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
from nats.js.errors import APIError, NotFoundError
from pydantic import Field, ValidationError
from pydantic_settings import SettingsError
from pymongo.errors import PyMongoError

from tunedeck_chassis import replica_set
from tunedeck_chassis.connection import connect
from tunedeck_chassis.logs import configure
from tunedeck_chassis.misprovisioned import Misprovisioned
from tunedeck_chassis.mongo_users import provision_users
from tunedeck_chassis.settings import ServiceSettings
from tunedeck_contracts.permissions import PROVISION
from tunedeck_contracts.streams import CONSUMERS, MAX_PAYLOAD, STREAMS, Consumer, Stream

log = structlog.get_logger()

CONNECT_SECONDS = 30.0
_STREAM_FIELDS = (
    *("subjects", "retention", "storage", "discard", "max_age", "duplicate_window"),
    *("num_replicas", "persist_mode"),
)
_CONSUMER_FIELDS = ("filter_subject", "ack_policy", "ack_wait", "max_deliver", "max_ack_pending")
_ANEW = (
    "NATS's store has to be made anew: stop nats-server, remove its store (`data/nats/jetstream` below "
    "TUNEDECK_HOME; with containers `docker compose rm --stop --force nats` and `docker volume rm "
    "<project>_nats`), start it, and run `tunedeck provision` again. The jobs and the trainers tell it again "
    "what it had; the parked messages alone are lost: `tunedeck dlq list --json` keeps them before."
)
"""No user of NATS may remove a stream or a consumer, and none has to: MongoDB is the truth."""


class ProvisionSettings(ServiceSettings):
    """As whom NATS and MongoDB are prepared, which is the user `provision`."""

    users_dir: Path | None = Field(
        default=None,
        description="The folder of `tunedeck secrets`, for provisioning: MongoDB gets the users whose "
        "passwords are there. Without it, none are made.",
    )


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
        name=consumer.name,
        durable_name=consumer.name,
        filter_subject=consumer.filter_subject,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=consumer.ack_wait.total_seconds(),
        max_deliver=consumer.max_deliver,
        max_ack_pending=consumer.max_ack_pending,
    )


async def provision(settings: ProvisionSettings) -> list[str]:
    """Prepare MongoDB, then NATS; return what was changed. Running it again changes nothing.

    Raises:
        Misprovisioned: something cannot be reached, or cannot be changed as it must.
    """
    changes = await asyncio.to_thread(_provision_mongo, settings)
    return changes + await provision_streams(settings)


def _provision_mongo(settings: ProvisionSettings) -> list[str]:
    changes = replica_set.prepare(settings)
    try:
        return changes + (provision_users(settings, settings.users_dir) if settings.users_dir else [])
    except PyMongoError as error:
        raise Misprovisioned(
            f"MongoDB does not let its user {settings.mongo_user!r} make the others: {error}. Set "
            f"TUNEDECK_MONGO_USER={PROVISION}, and TUNEDECK_SECRETS_DIR to its folder of `tunedeck secrets`."
        ) from error


async def provision_streams(settings: ServiceSettings, *, change: bool = True) -> list[str]:
    """Make every stream and consumer, and change those that are otherwise; return what was done.

    Without `change`, what is there stays as it is: another release may have made it so.
    """
    client = await _connected(settings)
    try:
        assert_payload(client)
        jetstream = client.jetstream()
        changes = [await _provision_stream(jetstream, stream, change) for stream in STREAMS]
        changes += [await _provision_consumer(jetstream, consumer, change) for consumer in CONSUMERS]
        return [change for change in changes if change is not None]
    finally:
        await client.close()


async def _provision_stream(jetstream: JetStreamContext, stream: Stream, change: bool) -> str | None:
    wanted = stream_config(stream)
    try:
        found = (await jetstream.stream_info(stream.name)).config
    except NotFoundError:
        await jetstream.add_stream(wanted)
        return f"stream {stream.name} made"
    differences = _differences(found, wanted, _STREAM_FIELDS)
    if not differences or not change:
        return None
    try:
        await jetstream.update_stream(wanted)
    except APIError as error:
        raise Misprovisioned(
            f"NATS does not change the stream {stream.name}, which has {', '.join(differences)} "
            f"({error.description}). {_ANEW}"
        ) from error
    return f"stream {stream.name} changed: it had {', '.join(differences)}"


async def _provision_consumer(jetstream: JetStreamContext, consumer: Consumer, change: bool) -> str | None:
    wanted = consumer_config(consumer)
    try:
        found = (await jetstream.consumer_info(consumer.stream, consumer.name)).config
    except NotFoundError:
        await jetstream.add_consumer(consumer.stream, wanted)
        return f"consumer {consumer.name} made"
    differences = _differences(found, wanted, _CONSUMER_FIELDS)
    if not differences or not change:
        return None
    try:
        await jetstream.add_consumer(consumer.stream, wanted)
    except APIError as error:
        raise Misprovisioned(
            f"NATS does not change the consumer {consumer.name}, which has {', '.join(differences)} "
            f"({error.description}). {_ANEW}"
        ) from error
    return f"consumer {consumer.name} changed: it had {', '.join(differences)}"


def _differences(found: Any, wanted: Any, fields: tuple[str, ...]) -> list[str]:
    """What is otherwise, as `max_age=60.0, not 86400.0`. NATS leaves out what is not set."""
    return [
        f"{name}={_shown(getattr(found, name))}, not {_shown(getattr(wanted, name))}"
        for name in fields
        if (getattr(found, name) or None) != (getattr(wanted, name) or None)
    ]


def _shown(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


async def _connected(settings: ServiceSettings) -> Client:
    deadline = asyncio.get_running_loop().time() + CONNECT_SECONDS
    while True:
        try:
            return await connect(settings, PROVISION)
        except Exception as error:
            if "authorization" in str(error).lower():
                raise Misprovisioned(
                    f"NATS at {settings.nats_url} refuses the user {PROVISION!r}: give NATS and Tunedeck the "
                    "same folder of `tunedeck secrets`, and start NATS again after it has changed."
                ) from error
            if asyncio.get_running_loop().time() > deadline:
                raise Misprovisioned(f"NATS at {settings.nats_url} cannot be reached: {error!r}") from error
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
    differences = _differences(found, stream_config(stream), _STREAM_FIELDS)
    return [f"stream {stream.name} has {one}" for one in differences]


async def _consumer_differences(jetstream: JetStreamContext, consumer: Consumer) -> list[str]:
    try:
        found = (await jetstream.consumer_info(consumer.stream, consumer.name)).config
    except NotFoundError:
        return [f"consumer {consumer.name} is missing"]
    differences = _differences(found, consumer_config(consumer), _CONSUMER_FIELDS)
    return [f"consumer {consumer.name} has {one}" for one in differences]


def main() -> None:
    """Entry point of the one-shot that a deployment runs first; says what it changed."""
    try:
        settings = ProvisionSettings()
    except (SettingsError, ValidationError) as error:
        sys.exit(f"The settings cannot be used: {error}")
    configure(PROVISION, settings.log_level)
    try:
        changes = asyncio.run(provision(settings))
    except Misprovisioned as error:
        sys.exit(str(error))
    log.info("provisioned", changes=changes)


if __name__ == "__main__":
    main()
