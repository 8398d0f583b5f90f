"""A new, empty stream is told every event that the jobs keep, and nothing is told without need."""

from pathlib import Path

from tests.support.jobs_service import Service, jobs_service
from tests.support.servers import NatsServer, provision
from tunedeck_contracts.runs import Outcome


async def test_a_stream_that_lost_everything_is_told_all_events_again(tmp_path: Path, mongo_url: str) -> None:
    nats = NatsServer(tmp_path)
    nats.start()
    try:
        async with jobs_service(nats.url, mongo_url) as service:
            completed, failed = await service.ended(), await service.ended(Outcome.FAILED)
            before = {uid: await service.events(uid) for uid in (completed, failed)}
            await service.republishing.look()

            await nats.clear()
            await provision(nats.url)
            pending = (await service.create()).job_uid
            told = sum(map(len, before.values()))
            assert await service.republishing.look() == told, "what waits in the outbox is told by the relay"
            assert {uid: await service.events(uid) for uid in before} == before
            assert [event.rev for event in await service.events(pending)] == [1, 2]
            assert await service.republishing.look() == 0
    finally:
        nats.stop()


async def test_a_stream_that_is_known_is_told_nothing(service: Service) -> None:
    await service.ended()
    await service.relay.publish_pending()
    await service.republishing.look()
    assert await service.republishing.look() == 0
