"""Builds the telemetry service: the only place that names its adapters."""

from tunedeck_chassis import mongo
from tunedeck_chassis.batches import BatchConsumer
from tunedeck_chassis.blobs import BLOBS_DATABASE, BlobStore
from tunedeck_chassis.broker import create_broker
from tunedeck_chassis.bus import Bus
from tunedeck_chassis.health import health_router
from tunedeck_chassis.presence import Presence
from tunedeck_chassis.service import run
from tunedeck_contracts.streams import TELEMETRY_TRAINING
from tunedeck_telemetry import handlers
from tunedeck_telemetry.curves import Curves
from tunedeck_telemetry.ingest import Ingest, decode
from tunedeck_telemetry.projection import Directory
from tunedeck_telemetry.repository import TelemetryRepository
from tunedeck_telemetry.settings import TelemetrySettings
from tunedeck_telemetry.summaries import Summaries

PACKAGES = ("faststream", "nats-py", "pymongo")


async def serve(settings: TelemetrySettings) -> None:
    """Run the service until a signal."""
    presence = Presence()
    client = mongo.connect(settings, presence=presence)
    broker = create_broker(settings, "telemetry", BlobStore(client[BLOBS_DATABASE]), presence)
    repository = TelemetryRepository(client, settings.telemetry_database)
    directory = Directory(repository, Bus(broker))
    curves = Curves(repository, directory)

    async def database_problem() -> str | None:
        return await mongo.problem(client)

    ingest = Ingest(repository)
    points = BatchConsumer(broker, TELEMETRY_TRAINING, decode, ingest.recorded)
    broker.context.set_global("ingest", ingest)
    broker.context.set_global("curves", curves)
    broker.context.set_global("summaries", Summaries(curves, directory))
    broker.include_router(handlers.router)
    broker.include_router(health_router("telemetry", [database_problem], PACKAGES))
    await run(broker, prepare=repository.prepare, loops=[points.run], close=client.close)
