"""What NATS itself refuses to each user, and to who is none."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError

from tests.support.servers import NatsServer, settings_of
from tunedeck_chassis import secrets
from tunedeck_chassis.connection import connect
from tunedeck_chassis.misprovisioned import Misprovisioned
from tunedeck_chassis.provisioning import provision_streams
from tunedeck_contracts import permissions, subjects

pytestmark = pytest.mark.connected

REFUSED = r"(?i)authorization"
LISTENING_IN = (">", "rpc.>", "$JS.>", "_INBOX.>")
DESTROYING = ("$JS.API.STREAM.DELETE.JOBS", "$JS.API.STREAM.PURGE.DLQ", "$JS.API.CONSUMER.DELETE.JOBS.x")
OF_OTHERS: dict[str, dict[str, tuple[str, ...]]] = {
    "gateway": {
        "publish": ("rpc.jobs.job.claim", "job.event.a", "training.loss.a", "dlq.telemetry"),
        "subscribe": ("_INBOX_jobs.>", "dlq.*"),
    },
    "catalog": {
        "publish": ("rpc.jobs.job.create", "rpc.telemetry.job.forget", "job.event.a", "training.loss.a"),
        "subscribe": ("job.event.*", "training.*.*"),
    },
    "jobs": {
        "publish": ("rpc.catalog.model.remove", "rpc.telemetry.loss.list", "training.loss.a", "dlq.jobs"),
        "subscribe": ("_INBOX_gateway.>", "training.*.*"),
    },
    "telemetry": {
        "publish": ("rpc.jobs.job.cancel", "job.event.a", "training.loss.a", "dlq.jobs"),
        "subscribe": ("_INBOX_trainer.>", "job.start"),
    },
    "trainer": {
        "publish": ("rpc.jobs.job.create", "rpc.jobs.job.delete", "job.event.a", "rpc.catalog.model.add"),
        "subscribe": ("training.*.*", "rpc.trainer.>"),
    },
    "provision": {
        "publish": ("rpc.jobs.job.create", "job.event.a", "training.loss.a", "$JS.API.STREAM.CREATE.X"),
        "subscribe": ("job.event.*", "_INBOX_gateway.>"),
    },
    "operator": {
        "publish": ("rpc.jobs.job.delete", "job.start", "$JS.API.STREAM.UPDATE.JOBS", "dlq.telemetry"),
        "subscribe": ("job.event.*", "_INBOX_gateway.>"),
    },
    "subscriber": {
        "publish": (
            "$JS.API.CONSUMER.CREATE.JOBS.telemetry-jobs.job.event.*",
            "$JS.API.CONSUMER.MSG.NEXT.JOBS.telemetry-jobs",
            "$JS.ACK.JOBS.telemetry-jobs.1.1.1.1.1",
            "$JS.API.CONSUMER.CREATE.TRAINING.mine.training.loss.a",
            "job.event.a",
        ),
        "subscribe": ("job.event.*", "_INBOX_observer.>"),
    },
    "observer": {
        "publish": ("rpc.jobs.job.get", "job.event.a", "training.loss.a", "$JS.API.STREAM.INFO.JOBS"),
        "subscribe": ("dlq.*", "_INBOX_gateway.>"),
    },
}


class Speaker:
    """One user's connection, which keeps what the server refuses."""

    client: Client

    def __init__(self) -> None:
        self._refused: list[str] = []

    async def on_error(self, error: Exception) -> None:
        """nats-py's `error_cb`; it has made small letters of the server's words."""
        self._refused.append(str(error))

    async def is_refused(self, action: str, subject: str) -> bool:
        """Whether the server refuses it to this user; a subscription may name a queue group after a blank."""
        self._refused.clear()
        if action == "publish":
            await self.client.publish(subject, b"")
        else:
            name, _, queue = subject.partition(" ")
            await self.client.subscribe(name, queue=queue)
        # nats-py's first flush may overtake what it is to follow.
        await self.client.flush()
        await self.client.flush()
        words = {"publish": "publish", "subscribe": "subscription"}
        refused = f"permissions violation for {words[action]}"
        return any(refused in one and f'"{subject.lower()}"' in one for one in self._refused)


@contextlib.asynccontextmanager
async def speaking_as(user: str, server: NatsServer, folder: Path) -> AsyncIterator[Speaker]:
    speaker = Speaker()
    speaker.client = await nats.connect(
        server.url,
        nkeys_seed=str(folder / user / secrets.SEED),
        inbox_prefix=subjects.inbox(user),
        allow_reconnect=False,
        error_cb=speaker.on_error,
    )
    yield speaker
    await speaker.client.close()


@pytest.mark.parametrize("user", permissions.USERS)
async def test_more_than_ten_subjects_of_others_are_refused(
    user: str, guarded_nats: NatsServer, folder: Path
) -> None:
    others = OF_OTHERS[user]
    refused = {
        "publish": {*others["publish"], *DESTROYING},
        "subscribe": {*others["subscribe"], *LISTENING_IN},
    }
    assert sum(map(len, refused.values())) > 10
    async with speaking_as(user, guarded_nats, folder) as speaker:
        for action, named in refused.items():
            for subject in named:
                assert await speaker.is_refused(action, subject), f"{user} may {action} {subject}"


@pytest.mark.parametrize("user", permissions.USERS)
async def test_what_a_user_needs_is_allowed(user: str, guarded_nats: NatsServer, folder: Path) -> None:
    allowed = permissions.of_user(user)
    async with speaking_as(user, guarded_nats, folder) as speaker:
        for subject in allowed.publish:
            one = subject.replace("*", "a").replace(">", "a")
            assert not await speaker.is_refused("publish", one), one
        for subject in allowed.subscribe:
            assert not await speaker.is_refused("subscribe", subject), subject


async def test_who_is_no_user_is_not_let_in(guarded_nats: NatsServer, tmp_path: Path) -> None:
    with pytest.raises(NatsError, match=REFUSED):
        await nats.connect(guarded_nats.url, allow_reconnect=False)
    secrets.create(tmp_path)
    for user in permissions.USERS:
        with pytest.raises(NatsError, match=REFUSED):
            await connect(settings_of(user, tmp_path, nats_url=guarded_nats.url), user)


async def test_provisioning_with_other_secrets_says_what_to_do(
    guarded_nats: NatsServer, tmp_path: Path
) -> None:
    secrets.create(tmp_path)
    with pytest.raises(Misprovisioned, match=r"refuses the user 'provision'.*`tunedeck secrets`"):
        await provision_streams(settings_of("provision", tmp_path, nats_url=guarded_nats.url))


async def test_provisioning_needs_no_more_than_its_user_may(guarded_nats: NatsServer, folder: Path) -> None:
    settings = settings_of("provision", folder, nats_url=guarded_nats.url)
    made = await provision_streams(settings)
    assert {"stream JOBS made", "consumer telemetry-jobs made"} <= set(made)
    assert await provision_streams(settings) == []
