"""A read whose service died with it is asked again; what could be done twice, or costs much, is not."""

import asyncio
import uuid

import pytest
from nats.aio.msg import Msg

from tests.support.probe_service import Ask, Say, serving
from tunedeck_chassis import asked_twice
from tunedeck_chassis.broker import request_handler
from tunedeck_chassis.requests import Router
from tunedeck_contracts.errors import Unavailable
from tunedeck_contracts.rpc import BESIDE_TRAINING, LONG_READ, WRITE, Rpc


def rpc(verb: str, timeout: float = WRITE) -> Rpc[Ask, Say]:
    return Rpc("probe", f"text{uuid.uuid4().hex[:8]}", verb, Ask, Say, timeout=timeout)


async def test_a_read_that_a_service_took_to_its_grave_is_answered_by_the_next(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Time for it to die before it is asked again.
    monkeypatch.setattr(asked_twice, "ASKED_AGAIN_SECONDS", 2.0)
    one, router, taken = rpc("get"), Router(), asyncio.Event()

    @request_handler(router, one)
    async def answer(message: Ask) -> Say:
        return Say(text=message.text)

    async def take(_: Msg) -> None:
        taken.set()

    async with serving(nats_url, Router()) as bus:
        dying = await bus.subscribe(one.subject, take)
        reading = asyncio.create_task(bus.request(one, Ask(text="x")))
        await asyncio.wait_for(taken.wait(), 5)
        await dying.unsubscribe()
        async with serving(nats_url, router):
            assert (await reading).text == "x"


async def test_the_first_answer_counts_though_the_second_asking_has_none(nats_url: str) -> None:
    one, router, count = rpc("get"), Router(), 0
    asked_again, over = asyncio.Event(), asyncio.Event()

    @request_handler(router, one)
    async def answer(message: Ask) -> Say:
        nonlocal count
        count += 1
        if count == 1:
            await asyncio.wait_for(asked_again.wait(), 5)
            return Say(text="first")
        asked_again.set()
        await over.wait()
        return Say(text="second")

    async with serving(nats_url, router) as bus:
        assert (await bus.request(one, Ask(text="x"))).text == "first"
        over.set()
    assert count == 2


async def test_two_answers_at_once_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked_twice, "ASKED_AGAIN_SECONDS", 0.01)
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    replies: list[asyncio.Future[Msg]] = []
    asked = asyncio.Semaphore(0)

    async def ask() -> Msg:
        replies.append(asyncio.get_running_loop().create_future())
        asked.release()
        # As nats-py waits for a reply: an answer that is there outlives a cancel.
        return await asyncio.wait_for(replies[-1], 10)

    asking = asyncio.create_task(asked_twice.asked_twice(ask))
    for _ in range(2):
        await asyncio.wait_for(asked.acquire(), 10)
    for reply in replies:
        reply.set_result(Msg(_client=None))  # type: ignore[arg-type]
    await asking
    for _ in range(5):
        await asyncio.sleep(0)
    assert errors == []


@pytest.mark.parametrize(
    ("verb", "limit"),
    [("create", WRITE), ("search", WRITE), ("list", LONG_READ), ("estimate", BESIDE_TRAINING)],
)
async def test_what_is_no_quick_read_is_asked_once(nats_url: str, verb: str, limit: float) -> None:
    one, router, count, over = rpc(verb, limit), Router(), 0, asyncio.Event()

    @request_handler(router, one)
    async def answer(message: Ask) -> Say:
        nonlocal count
        count += 1
        await over.wait()
        return Say(text="too late")

    async with serving(nats_url, router) as bus:
        with pytest.raises(Unavailable, match="did not answer within"):
            await bus.request(one, Ask(text="x"), timeout=4 * asked_twice.ASKED_AGAIN_SECONDS)
        over.set()
    assert count == 1
