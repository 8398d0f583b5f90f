"""Builds the jobs service: the only place that names its adapters."""

from tunedeck_chassis import mongo
from tunedeck_chassis.blobs import BLOBS_DATABASE, BlobStore
from tunedeck_chassis.broker import create_broker
from tunedeck_chassis.bus import Bus
from tunedeck_chassis.health import health_router
from tunedeck_chassis.presence import Presence
from tunedeck_chassis.service import run
from tunedeck_jobs import handlers
from tunedeck_jobs.checkpoints import Checkpoints
from tunedeck_jobs.creation import Creation
from tunedeck_jobs.deletion import Deletion
from tunedeck_jobs.devices import Devices
from tunedeck_jobs.jobs import Jobs
from tunedeck_jobs.listing import Listing
from tunedeck_jobs.mode import Modes
from tunedeck_jobs.plans import Plans
from tunedeck_jobs.pushes import Pushes
from tunedeck_jobs.queue import Queue
from tunedeck_jobs.relay import Relay
from tunedeck_jobs.repository.histories import Histories
from tunedeck_jobs.repository.jobs import JobRepository
from tunedeck_jobs.repository.lists import JobLists
from tunedeck_jobs.repository.mode import ModeRepository
from tunedeck_jobs.repository.pushes import PushRepository
from tunedeck_jobs.repository.trainers import TrainerRepository
from tunedeck_jobs.republishing import Republishing
from tunedeck_jobs.resolving import Resolver
from tunedeck_jobs.settings import JobsSettings
from tunedeck_jobs.steering import Steering
from tunedeck_jobs.sweep import Sweep

PACKAGES = ("faststream", "nats-py", "pymongo")


class JobsService:
    """The parts of the service, joined. `resolver` may stand for the catalog in a test."""

    def __init__(
        self,
        settings: JobsSettings,
        *,
        resolver: Resolver | None = None,
        blobs_database: str = BLOBS_DATABASE,
    ) -> None:
        self.settings = settings
        presence = Presence()
        self.client = mongo.connect(settings, presence=presence)
        self.blobs = BlobStore(self.client[blobs_database])
        self.broker = create_broker(settings, "jobs", self.blobs, presence)
        self.bus = Bus(self.broker)
        database = settings.jobs_database
        self.repository = JobRepository(self.client, database)
        self.lists = JobLists(self.client, database)
        self.trainers = TrainerRepository(self.client, database)
        self.push_repository = PushRepository(self.client, database)
        mode_repository = ModeRepository(self.client, database)
        self.resolver = resolver or Resolver(self.bus)
        self.relay = Relay(self.repository, self.bus)
        self.checkpoints = Checkpoints(self.repository, self.blobs, self.relay)
        devices = Devices(self.trainers)
        self.creation = Creation(self.repository, mode_repository, devices, self.resolver, self.relay)
        self.steering = Steering(self.repository, self.resolver, self.relay)
        self.plans = Plans(self.repository, devices, self.resolver)
        self.pushes = Pushes(self.repository, self.push_repository)
        self.jobs = Jobs(self.repository, self.trainers)
        self.listing = Listing(self.lists, self.trainers)
        self.deletion = Deletion(self.repository, self.checkpoints, self.blobs, self.bus, self.relay)
        self.modes = Modes(mode_repository)
        self.queue = Queue(self.repository, self.trainers, self.blobs, self.relay, settings)
        self.republishing = Republishing(Histories(self.client, database), self.bus)
        self.sweep = Sweep(self.repository, self.queue, self.relay, settings, self._contact)
        asked = ("creation", "steering", "plans", "jobs", "listing", "deletion", "modes")
        for part in (*asked, "queue", "checkpoints", "pushes"):
            self.broker.context.set_global(part, getattr(self, part))
        self.broker.include_router(handlers.router)
        self.broker.include_router(health_router("jobs", [self._database_problem], PACKAGES))

    async def prepare(self) -> None:
        """Create the indexes."""
        await self.repository.prepare()
        await self.lists.prepare()
        await self.trainers.prepare()
        await self.push_repository.prepare()

    async def _database_problem(self) -> str | None:
        return await mongo.problem(self.client)

    async def _contact(self) -> int | None:
        if not self.bus.is_connected or await self._database_problem() is not None:
            return None
        return self.bus.reconnects


async def serve(settings: JobsSettings) -> None:
    """Run the service until a signal."""
    service = JobsService(settings)
    loops = [service.relay.run, service.republishing.run, service.sweep.run, service.deletion.run]
    await run(service.broker, prepare=service.prepare, loops=loops, close=service.client.close)
