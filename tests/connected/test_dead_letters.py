"""A parked message is sent again as it was, and its letter goes only when the message has been dealt with."""

import base64
from collections.abc import AsyncIterator, Iterator

import nats
import pytest
from nats.aio.client import Client

from tests.support.servers import NatsServer, provision
from tests.support.telemetry_service import NONE_STORED, Telemetry, loss, new_job, publish, telemetry_service
from tunedeck_chassis.dead_letters import DeadLetters, Outcome, Parked, Replayed
from tunedeck_chassis.parking import MOST_KEPT_BYTES
from tunedeck_contracts import subjects
from tunedeck_contracts.cloudevents import MESSAGE_ID, REPLAY_OF
from tunedeck_contracts.message import utc_now
from tunedeck_contracts.subjects import TrainingKind
from tunedeck_contracts.telemetry import DeadLetter, GetStored

SECONDS = 20.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """Of its own: on a shared one, what other tests have told waits at the durables."""
    one = NatsServer(tmp_path_factory.mktemp("dlq"))
    one.start()
    yield one
    one.stop()


@pytest.fixture
async def client(server: NatsServer) -> AsyncIterator[Client]:
    await server.clear()
    await provision(server.url)
    one = await nats.connect(server.url)
    yield one
    await one.close()


async def park(client: Client, subject: str, body: bytes, **more: object) -> Parked:
    """A letter as a service would have written it."""
    letter = DeadLetter(
        service="telemetry",
        subject=subject,
        reason="a defect of the service, mended since",
        deliveries=6,
        headers=more.pop("headers", {}),
        data=base64.b64encode(body[:MOST_KEPT_BYTES]).decode(),
        parked_at=utc_now(),
        **{"size": len(body), **more},
    )
    stored = await client.jetstream().publish(subjects.dead_letter("telemetry"), letter.to_json())
    [found] = [one async for one in DeadLetters(client).all() if one.sequence == stored.seq]
    return found


async def replay(client: Client, *letters: Parked, seconds: float = SECONDS) -> list[Replayed]:
    return await DeadLetters(client).replay(letters, seconds=seconds)


async def left(client: Client) -> list[int]:
    return [one.sequence async for one in DeadLetters(client).all()]


async def stored(telemetry: Telemetry, job: str) -> int:
    asked = GetStored(job_id=job, fence=1, after=NONE_STORED)
    return (await telemetry.curves.stored(asked)).losses


async def test_a_message_is_stored_though_the_stream_knows_its_id(
    client: Client, server: NatsServer, mongo_url: str
) -> None:
    job = new_job()
    subject = subjects.training_event(TrainingKind.LOSS, job)
    async with telemetry_service(server.url, mongo_url) as telemetry:
        await publish(telemetry.bus, loss(job, 1), id="the id of both")
        headers = {
            MESSAGE_ID: "the id of both",
            "ce-id": "the id of both",
            "Nats-Expected-Last-Sequence": "7",
        }
        parked = await park(client, subject, loss(job, 2).to_json(), headers=headers)
        [done] = await replay(client, parked)
        assert (done.outcome, done.stream) == (Outcome.HANDLED, "TRAINING")
        assert await stored(telemetry, job) == 2 and await left(client) == []
        again = await client.jetstream().get_msg("TRAINING", done.stored_as)
        assert again.data == loss(job, 2).to_json() and again.headers is not None
        assert (again.headers["ce-id"], again.headers[REPLAY_OF]) == ("the id of both", str(parked.sequence))


async def test_what_fails_again_is_parked_again_and_says_so(
    client: Client, server: NatsServer, mongo_url: str
) -> None:
    subject = subjects.training_event(TrainingKind.LOSS, new_job())
    async with telemetry_service(server.url, mongo_url):
        [done] = await replay(client, await park(client, subject, b"{broken"))
    assert done.outcome is Outcome.PARKED_AGAIN
    [letter] = [one async for one in DeadLetters(client).all()]
    assert letter.letter is not None and letter.letter.reason in done.said
    assert base64.b64decode(letter.letter.data) == b"{broken"
    assert letter.letter.headers[REPLAY_OF] == str(done.parked.sequence)


async def test_a_letter_stays_until_its_message_is_dealt_with(
    client: Client, server: NatsServer, mongo_url: str
) -> None:
    job = new_job()
    parked = await park(client, subjects.training_event(TrainingKind.LOSS, job), loss(job, 1).to_json())
    [first] = await replay(client, parked, seconds=0.3)
    assert first.outcome is Outcome.UNDECIDED and await left(client) == [parked.sequence]
    async with telemetry_service(server.url, mongo_url) as telemetry:
        [second] = await replay(client, parked)
        assert (second.outcome, second.stored_as) == (Outcome.HANDLED, first.stored_as)
        assert await stored(telemetry, job) == 1 and await left(client) == []
        [third] = await replay(client, parked)
        assert third.outcome is Outcome.HANDLED, "another operator had replayed it already"


@pytest.mark.parametrize("size", [MOST_KEPT_BYTES + 1, None])
async def test_a_message_of_which_only_the_beginning_was_kept_is_not_sent(
    client: Client, size: int | None
) -> None:
    subject = subjects.training_event(TrainingKind.LOG, new_job())
    parked = await park(client, subject, b"x" * (MOST_KEPT_BYTES + 1), size=size)
    [done] = await replay(client, parked)
    assert done.outcome is Outcome.REFUSED and "first 1048576 bytes" in done.said
    assert await left(client) == [parked.sequence]
    assert (await client.jetstream().stream_info("TRAINING")).state.messages == 0


async def test_what_no_stream_takes_and_what_is_no_letter_stays(client: Client) -> None:
    parked = await park(client, "elsewhere.x", b"{}")
    stray = await client.jetstream().publish(subjects.dead_letter("someone"), b"no letter")
    letters = [one async for one in DeadLetters(client).all()]
    outcomes = await replay(client, *letters)
    assert [one.outcome for one in outcomes] == [Outcome.REFUSED, Outcome.REFUSED]
    assert "no stream" in outcomes[0].said and "no dead letter" in outcomes[1].said
    assert await left(client) == [parked.sequence, stray.seq]
