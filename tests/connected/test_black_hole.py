"""A link that swallows everything without a word is noticed, told, and used again when it carries."""

import asyncio
from pathlib import Path

import pytest
from pymongo.errors import PyMongoError

from tests.support.servers import MongoServer, NatsServer, provision
from tests.support.wire import wire
from tunedeck_chassis import mongo
from tunedeck_chassis.broker import create_broker, request_handler
from tunedeck_chassis.bus import Bus
from tunedeck_chassis.requests import Router
from tunedeck_chassis.service import started
from tunedeck_chassis.settings import ServiceSettings
from tunedeck_cli import server_commands
from tunedeck_contracts.errors import Unavailable
from tunedeck_contracts.message import Message
from tunedeck_contracts.rpc import Rpc

NOTICED_SECONDS = 15.0
SLACK = 2.0
"""For a machine that is busy with other tests."""


class Ask(Message):
    text: str


ECHO = Rpc("probe", "text", "get", Ask, Ask)


async def test_a_nats_that_answers_nothing_any_more_is_noticed(tmp_path: Path) -> None:
    server = NatsServer(tmp_path)
    server.start()
    await provision(server.url)
    answering, router = create_broker(ServiceSettings(nats_url=server.url), "probe"), Router()

    @request_handler(router, ECHO)
    async def echo(message: Ask) -> Ask:
        return message

    answering.include_router(router)
    async with wire(server.port) as link, started(answering):
        asking = create_broker(ServiceSettings(nats_url=server_commands.nats_url(link.port)), "asking")
        async with started(asking):
            bus = Bus(asking)
            assert (await bus.request(ECHO, Ask(text="x"))).text == "x"
            link.swallow()
            async with asyncio.timeout(SLACK * NOTICED_SECONDS):
                with pytest.raises(Unavailable, match="did not answer within 2 s"):
                    await bus.request(ECHO, Ask(text="x"))
                while bus.is_connected:
                    await asyncio.sleep(0.1)
                while True:
                    with pytest.raises(Unavailable) as told:
                        await bus.request(ECHO, Ask(text="x"))
                    if "NATS cannot be reached" in told.value.detail:
                        break
            link.carry()
            async with asyncio.timeout(NOTICED_SECONDS):
                while asking.context.get("link").is_lost:
                    await asyncio.sleep(0.1)
                assert (await bus.request(ECHO, Ask(text="x"))).text == "x"
    server.stop()


async def test_a_mongodb_that_answers_nothing_any_more_is_noticed(mongo_server: MongoServer) -> None:
    async with wire(mongo_server.port) as link:
        url = f"mongodb://127.0.0.1:{link.port}/?directConnection=true"
        client = mongo.connect(ServiceSettings(mongo_url=url))
        await client["probe"]["rows"].find_one()
        link.swallow()
        async with asyncio.timeout(SLACK * NOTICED_SECONDS):
            with pytest.raises(PyMongoError) as raised:
                await client["probe"]["rows"].find_one()
        assert mongo.is_away(raised.value)
        link.carry()
        async with asyncio.timeout(SLACK * NOTICED_SECONDS):
            while await mongo.problem(client) is not None:
                await asyncio.sleep(0.1)
            await client["probe"]["rows"].find_one()
        await client.close()
