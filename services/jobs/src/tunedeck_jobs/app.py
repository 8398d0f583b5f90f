"""Builds the jobs service: the only place that names its adapters."""

from tunedeck_chassis import mongo
from tunedeck_chassis.blobs import BLOBS_DATABASE, BlobStore
from tunedeck_chassis.broker import create_broker
from tunedeck_chassis.bus import Bus
from tunedeck_chassis.health import health_router
from tunedeck_chassis.service import run
from tunedeck_jobs import handlers
from tunedeck_jobs.deletion import Deletion
from tunedeck_jobs.jobs import Jobs
from tunedeck_jobs.listing import Listing
from tunedeck_jobs.mode import Modes
from tunedeck_jobs.queue import Queue
from tunedeck_jobs.relay import Relay
from tunedeck_jobs.repository.jobs import JobRepository
from tunedeck_jobs.repository.lists import JobLists
from tunedeck_jobs.repository.mode import ModeRepository
from tunedeck_jobs.resolving import Resolver
from tunedeck_jobs.settings import JobsSettings
from tunedeck_jobs.sweep import Sweep

PACKAGES = ("faststream", "nats-py", "pymongo")


async def serve(settings: JobsSettings) -> None:
    """Run the service until a signal."""
    client = mongo.connect(settings)
    blobs = BlobStore(client[BLOBS_DATABASE])
    broker = create_broker(settings, "jobs", blobs)
    bus = Bus(broker)
    repository = JobRepository(client, settings.jobs_database)
    lists = JobLists(client, settings.jobs_database)
    modes = ModeRepository(client, settings.jobs_database)
    relay = Relay(repository, bus)
    queue = Queue(repository, blobs, relay, settings)

    async def database_problem() -> str | None:
        return await mongo.problem(client)

    async def contact() -> int | None:
        if not bus.is_connected or await database_problem() is not None:
            return None
        return bus.reconnects

    async def prepare() -> None:
        await repository.prepare()
        await lists.prepare()

    sweep = Sweep(repository, queue, relay, settings, contact)
    deletion = Deletion(repository, blobs, bus, relay)
    broker.context.set_global("jobs", Jobs(repository, modes, Resolver(bus), relay))
    broker.context.set_global("listing", Listing(lists))
    broker.context.set_global("deletion", deletion)
    broker.context.set_global("modes", Modes(modes))
    broker.context.set_global("queue", queue)
    broker.include_router(handlers.router)
    broker.include_router(health_router("jobs", [database_problem], PACKAGES))
    await run(broker, prepare=prepare, loops=[relay.run, sweep.run, deletion.run], close=client.close)
