"""How a service answers requests on the real bus."""

import asyncio
import json
import time
import uuid

import pytest

from tests.support.probe_service import Ask, Say, serving
from tests.support.servers import provision
from tunedeck_chassis import mongo, requests, service
from tunedeck_chassis.blobs import BLOBS_DATABASE, BlobStore
from tunedeck_chassis.broker import create_broker, request_handler
from tunedeck_chassis.requests import Router
from tunedeck_chassis.settings import ServiceSettings
from tunedeck_contracts.errors import InternalError, NotFound, Unavailable, ValidationFailed
from tunedeck_contracts.rpc import Rpc


def ask_rpc() -> Rpc[Ask, Say]:
    return Rpc("probe", "text", f"v{uuid.uuid4().hex[:8]}", Ask, Say, timeout=5.0)


async def test_a_request_is_answered_with_the_replys_bytes_and_status(nats_url: str) -> None:
    rpc, router = ask_rpc(), Router()

    @request_handler(router, rpc)
    async def echo(message: Ask) -> Say:
        return Say(text=message.text)

    async with serving(nats_url, router) as bus:
        assert (await bus.request(rpc, Ask(text="hello"))).text == "hello"


@pytest.mark.parametrize(
    ("raised", "told"),
    [(NotFound("There is none."), NotFound), (RuntimeError("secret"), InternalError)],
)
async def test_a_failed_request_is_answered_and_tells_no_secret(
    nats_url: str, raised: Exception, told: type[Exception]
) -> None:
    rpc, router = ask_rpc(), Router()

    @request_handler(router, rpc)
    async def fail(message: Ask) -> Say:
        raise raised

    async with serving(nats_url, router) as bus:
        with pytest.raises(told) as caught:
            await bus.request(rpc, Ask(text="x"))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("body", [b"{", b"{}", b"[1]", b"\xff"])
async def test_a_malformed_request_is_answered_with_what_is_wrong(nats_url: str, body: bytes) -> None:
    rpc, router = ask_rpc(), Router()

    @request_handler(router, rpc)
    async def echo(message: Ask) -> Say:
        return Say(text=message.text)

    async with serving(nats_url, router) as bus:
        reply = await bus.forward(rpc, body)
    assert reply.status == 422
    assert json.loads(reply.body)["error_type"] == ValidationFailed.__name__


async def test_six_slow_requests_are_handled_at_once(nats_url: str) -> None:
    rpc, router = ask_rpc(), Router()
    together = asyncio.Barrier(6)

    @request_handler(router, rpc)
    async def slow(message: Ask) -> Say:
        # Passes only when all six are being handled at the same time.
        await asyncio.wait_for(together.wait(), 4)
        return Say(text="done")

    async with serving(nats_url, router) as bus:
        answers = await asyncio.gather(*(bus.request(rpc, Ask(text=str(n))) for n in range(6)))
    assert len(answers) == 6


async def test_a_reply_of_6_mb_goes_through_the_blob_store(nats_url: str, mongo_url: str) -> None:
    rpc, router = ask_rpc(), Router()
    large = "x" * (6 * 1024 * 1024)

    @request_handler(router, rpc)
    async def tell(message: Ask) -> Say:
        return Say(text=large)

    async with serving(nats_url, router, mongo_url) as bus:
        reply = await bus.forward(rpc, Ask(text="x").to_json(), timeout=30)
        assert reply.body == b""
        assert reply.blob_id is not None
        settings = ServiceSettings(nats_url=nats_url, mongo_url=mongo_url)
        client = mongo.connect(settings)
        stored = b"".join([part async for part in BlobStore(client[BLOBS_DATABASE]).read(reply.blob_id)])
        await client.close()
    assert Say.model_validate_json(stored).text == large


async def test_a_request_to_nobody_is_unavailable_within_its_time(nats_url: str) -> None:
    async with serving(nats_url, Router()) as bus:
        before = time.monotonic()
        with pytest.raises(Unavailable, match="probe service"):
            await bus.request(ask_rpc(), Ask(text="x"), timeout=0.5)
        assert time.monotonic() - before < 4.5, "its own limit would be longer"


async def test_a_request_that_waited_for_longer_than_its_caller_does_is_not_carried_out(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "REQUEST_WORKERS", 1)
    rpc, other, router = ask_rpc(), ask_rpc(), Router()
    free, handled = asyncio.Event(), []

    @request_handler(router, rpc)
    async def slow(message: Ask) -> Say:
        handled.append(message.text)
        await asyncio.wait_for(free.wait(), 10)
        return Say(text="done")

    @request_handler(router, other)
    async def at_once(message: Ask) -> Say:
        return Say(text="done")

    async with serving(nats_url, router) as bus:
        first = asyncio.create_task(bus.request(rpc, Ask(text="first"), timeout=10))
        while not handled:
            await asyncio.sleep(0.01)
        with pytest.raises(Unavailable):
            await bus.request(rpc, Ask(text="late"), timeout=0.2)
        # The limit counts from the arrival, which may come after the caller has given up.
        assert (await bus.request(other, Ask(text="after it"), timeout=5)).text == "done"
        await asyncio.sleep(0.25)
        free.set()
        assert (await first).text == "done"
        assert (await bus.request(rpc, Ask(text="last"), timeout=5)).text == "done"
    assert handled == ["first", "last"]


async def test_what_was_taken_is_answered_before_a_stopping_service_closes(nats_url: str) -> None:
    await provision(nats_url)
    rpc, router = ask_rpc(), Router()
    broker = create_broker(ServiceSettings(nats_url=nats_url), "probe")
    taken, closed = asyncio.Event(), asyncio.Event()

    @request_handler(router, rpc)
    async def last(message: Ask) -> Say:
        taken.set()
        await asyncio.sleep(0.3)
        assert not closed.is_set()
        return Say(text="answered")

    async def until_taken() -> None:
        await taken.wait()

    async def close() -> None:
        closed.set()

    broker.include_router(router)
    running = asyncio.create_task(service.run(broker, loops=[until_taken], close=close))
    async with serving(nats_url, Router()) as bus:
        assert (await bus.request(rpc, Ask(text="x"))).text == "answered"
    await asyncio.wait_for(running, 20)
    assert closed.is_set()
