"""What an operator does with the dead-letter stream: reads it, and sends messages again.

Nothing is lost on the way: a letter is removed only when its message is stored again and every durable that
takes it is through with it. Until then a second replay sends it again, which is harmless: whoever takes the
events takes each any number of times.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import PubAck, RawStreamMsg
from nats.js.errors import APIError, NotFoundError
from pydantic import ValidationError

from tunedeck_chassis.parking import MOST_KEPT_BYTES
from tunedeck_contracts import subjects
from tunedeck_contracts.cloudevents import MESSAGE_ID, REPLAY_OF
from tunedeck_contracts.streams import CONSUMERS, DLQ, Consumer
from tunedeck_contracts.telemetry import DeadLetter

PUBLISH_SECONDS = 5.0
_LOOK_SECONDS = 0.1
_OF_JETSTREAM = "nats-"


class Outcome(StrEnum):
    """What became of one letter."""

    HANDLED = "handled"
    PARKED_AGAIN = "parked again"
    UNDECIDED = "undecided"
    REFUSED = "refused"


@dataclass(frozen=True)
class Parked:
    """One message of the stream DLQ; `letter` is None where it is none of ours, and `problem` says why."""

    sequence: int
    subject: str
    letter: DeadLetter | None
    problem: str = ""

    @property
    def service(self) -> str:
        """Who parked it, by the subject."""
        return self.subject.rpartition(".")[2]


@dataclass(frozen=True)
class Replayed:
    """What a replay did. `stream` and `stored_as` say where the message is now, if it was sent."""

    parked: Parked
    outcome: Outcome
    said: str
    stream: str | None = None
    stored_as: int | None = None

    @property
    def was_sent(self) -> bool:
        """Whether a stream has acknowledged the message."""
        return self.stored_as is not None


class DeadLetters:
    """The stream DLQ over a connection that may read it, delete from it, and publish events."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._jetstream = client.jetstream()

    async def all(self, *, after: int = 0) -> AsyncIterator[Parked]:
        """Every letter behind a sequence, oldest first.

        Raises:
            nats.errors.Error: NATS does not answer.
        """
        while True:
            try:
                found = await self._jetstream.get_msg(
                    DLQ.name, seq=after + 1, subject=subjects.DEAD_LETTERS, next=True
                )
            except NotFoundError:
                return
            parked = _read(found)
            after = parked.sequence
            yield parked

    async def replay(self, letters: Sequence[Parked], *, seconds: float) -> list[Replayed]:
        """Send each letter's message again where it came from, and see for `seconds` what becomes of them.

        A message keeps its headers, but for those by which JetStream stored it the first time: its old
        de-duplication id would have the stream take it for a repetition, and drop it.
        """
        newest = (await self._jetstream.stream_info(DLQ.name)).state.last_seq
        sent = [await self._send(parked) for parked in letters]
        floors = await self._until_settled([one for one in sent if one.was_sent], seconds)
        again = {
            parked.letter.headers.get(REPLAY_OF): parked
            async for parked in self.all(after=newest)
            if parked.letter is not None
        }
        return [
            await self._concluded(one, again) if one.was_sent and _is_settled(one, floors) else one
            for one in sent
        ]

    async def _send(self, parked: Parked) -> Replayed:
        letter = parked.letter
        if letter is None:
            return Replayed(parked, Outcome.REFUSED, parked.problem)
        body = base64.b64decode(letter.data)
        if _is_cut(letter, body):
            said = f"only its first {len(body)} bytes were kept, so that it cannot be sent as it was"
            return Replayed(parked, Outcome.REFUSED, said)
        try:
            stored = await self._jetstream.publish(
                letter.subject, body, timeout=PUBLISH_SECONDS, headers=_headers(parked.sequence, letter)
            )
        except (NatsError, TimeoutError, OSError, ValueError) as error:
            said = f"no stream has acknowledged it ({type(error).__name__}: {error})"
            return Replayed(parked, Outcome.REFUSED, said)
        return _as_sent(parked, stored)

    async def _until_settled(self, sent: Sequence[Replayed], seconds: float) -> dict[str, int]:
        """The durables' acknowledgement floors once they are above every message, or after `seconds`."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            floors = {consumer.name: await self._floor(consumer) for consumer in CONSUMERS}
            if all(_is_settled(one, floors) for one in sent) or asyncio.get_running_loop().time() > deadline:
                return floors
            await asyncio.sleep(_LOOK_SECONDS)

    async def _floor(self, consumer: Consumer) -> int:
        """The sequence up to which a durable has acknowledged everything."""
        floor = (await self._jetstream.consumer_info(consumer.stream, consumer.name)).ack_floor
        return 0 if floor is None else floor.stream_seq

    async def _concluded(self, sent: Replayed, again: dict[str | None, Parked]) -> Replayed:
        await self._remove(sent.parked.sequence)
        if (parked := again.get(str(sent.parked.sequence))) is None or parked.letter is None:
            return replace(sent, outcome=Outcome.HANDLED, said="taken by every service that listens to it")
        said = f"it is letter {parked.sequence} now: {parked.letter.reason}"
        return replace(sent, outcome=Outcome.PARKED_AGAIN, said=said)

    async def _remove(self, sequence: int) -> None:
        try:
            await self._jetstream.delete_msg(DLQ.name, sequence)
        except APIError:
            # Another operator may have replayed the same letter, or its 30 days are over.
            if await self._has(sequence):
                raise

    async def _has(self, sequence: int) -> bool:
        try:
            await self._jetstream.get_msg(DLQ.name, seq=sequence)
        except NotFoundError:
            return False
        return True


def _read(found: RawStreamMsg) -> Parked:
    sequence, subject = int(found.seq or 0), found.subject or ""
    try:
        return Parked(sequence, subject, DeadLetter.model_validate_json(found.data or b""))
    except ValidationError as error:
        problem = f"it is no dead letter of Tunedeck ({error.error_count()} problems)"
        return Parked(sequence, subject, None, problem)


def _is_cut(letter: DeadLetter, body: bytes) -> bool:
    """Letters of before sizes were noted are taken for cut where they could be."""
    return len(body) < letter.size if letter.size is not None else len(body) >= MOST_KEPT_BYTES


def _headers(sequence: int, letter: DeadLetter) -> dict[str, str]:
    kept = {
        name: value for name, value in letter.headers.items() if not name.lower().startswith(_OF_JETSTREAM)
    }
    # The same for the same letter: two operators, or one who was cut off, send one message.
    id = f"{subjects.dead_letter(letter.service)}:{sequence}:{letter.parked_at.timestamp():.3f}"
    return {**kept, MESSAGE_ID: id, REPLAY_OF: str(sequence)}


def _as_sent(parked: Parked, stored: PubAck) -> Replayed:
    said = (
        f"{stored.stream} has it as {stored.seq}, and not every service is through with it yet; "
        "the letter stays until a later replay finds that they are"
    )
    return Replayed(parked, Outcome.UNDECIDED, said, stored.stream, stored.seq)


def _is_settled(sent: Replayed, floors: dict[str, int]) -> bool:
    """Whether every durable that takes the message has acknowledged all up to it."""
    assert sent.parked.letter is not None and sent.stored_as is not None
    return all(
        floors[consumer.name] >= sent.stored_as
        for consumer in CONSUMERS
        if consumer.stream == sent.stream and _takes(consumer.filter_subject, sent.parked.letter.subject)
    )


def _takes(filter_subject: str, subject: str) -> bool:
    wanted, tokens = filter_subject.split("."), subject.split(".")
    return len(wanted) == len(tokens) and all(
        one in ("*", token) for one, token in zip(wanted, tokens, strict=True)
    )
