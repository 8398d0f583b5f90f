"""What the catalog says of a job's model and dataset, asked over a real NATS."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import nats
from nats.aio.msg import Msg

from tests.support.answering import answering
from tests.support.jobs_service import DATASET, MODEL, Service
from tunedeck_contracts import rpc
from tunedeck_contracts.cloudevents import STATUS
from tunedeck_contracts.errors import NotFound, TunedeckError, Unavailable
from tunedeck_contracts.rpc import Rpc
from tunedeck_jobs.resolving import Resolver

AWAY = Unavailable("The database does not answer; the request can be sent again.")


@asynccontextmanager
async def refusing(nats_url: str, asked: Rpc[Any, Any], *refusals: TunedeckError) -> AsyncIterator[list[Msg]]:
    """Refuses so often, then says what the model is; the questions."""
    client, questions = await nats.connect(nats_url), list[Msg]()

    async def answer(message: Msg) -> None:
        questions.append(message)
        refused = refusals[len(questions) - 1] if len(questions) <= len(refusals) else None
        body, status = (refused.reply().to_json(), refused.status_code) if refused else (MODEL.to_json(), 200)
        await client.publish(message.reply, body, headers={STATUS: str(status)})

    await client.subscribe(asked.subject, cb=answer)
    await client.flush()
    try:
        yield questions
    finally:
        await client.close()


async def test_who_is_back_a_moment_later_is_asked_again(service: Service, nats_url: str) -> None:
    async with (
        answering(nats_url, rpc.DATASET_RESOLVE, DATASET),
        refusing(nats_url, rpc.MODEL_RESOLVE, AWAY) as questions,
    ):
        found = await Resolver(service.bus).resolve("local/tiny", "dataset_1")
    assert (found.model, found.dataset, found.problems) == (MODEL, DATASET, ())
    assert len(questions) == 2


async def test_who_is_away_for_longer_is_asked_twice_and_who_has_nothing_once(
    service: Service, nats_url: str
) -> None:
    for refusal, count in ((AWAY, 2), (NotFound("There is no such model."), 1)):
        async with (
            answering(nats_url, rpc.DATASET_RESOLVE, DATASET),
            refusing(nats_url, rpc.MODEL_RESOLVE, *[refusal] * 3) as questions,
        ):
            found = await Resolver(service.bus).resolve("local/tiny", "dataset_1")
        assert found.problems == (f"model: {refusal.detail}",)
        assert len(questions) == count
