"""Telemetry on real servers, and what runs tell it."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from tests.support.servers import provision
from tunedeck_chassis import mongo
from tunedeck_chassis.batches import BatchConsumer
from tunedeck_chassis.broker import create_broker
from tunedeck_chassis.bus import Bus
from tunedeck_chassis.service import started
from tunedeck_contracts import subjects
from tunedeck_contracts.cloudevents import event
from tunedeck_contracts.events import JobEvent, JobEventType
from tunedeck_contracts.jobs import Status
from tunedeck_contracts.message import utc_now
from tunedeck_contracts.streams import TELEMETRY_TRAINING
from tunedeck_contracts.subjects import TrainingKind
from tunedeck_contracts.telemetry import Stored
from tunedeck_contracts.training import (
    LogLine,
    LogRecorded,
    LossPoint,
    LossRecorded,
    ResourceSample,
    ResourcesRecorded,
)
from tunedeck_telemetry import handlers
from tunedeck_telemetry.curves import Curves
from tunedeck_telemetry.ingest import Ingest, decode
from tunedeck_telemetry.projection import Directory
from tunedeck_telemetry.repository import TelemetryRepository
from tunedeck_telemetry.settings import TelemetrySettings
from tunedeck_telemetry.summaries import Summaries

NONE_STORED = Stored(losses=0, resources=0, logs=0)
BEGAN = utc_now()


@dataclass
class Telemetry:
    ingest: Ingest
    curves: Curves
    summaries: Summaries
    repository: TelemetryRepository
    bus: Bus


@asynccontextmanager
async def telemetry_service(nats_url: str, mongo_url: str) -> AsyncIterator[Telemetry]:
    """The service with its handlers at work and a database of its own."""
    await provision(nats_url)
    settings = TelemetrySettings(
        nats_url=nats_url, mongo_url=mongo_url, telemetry_database=f"telemetry_{uuid.uuid4().hex[:12]}"
    )
    client = mongo.connect(settings)
    broker = create_broker(settings, "telemetry")
    bus = Bus(broker)
    repository = TelemetryRepository(client, settings.telemetry_database)
    directory = Directory(repository, bus)
    curves = Curves(repository, directory)
    ingest, summaries = Ingest(repository), Summaries(curves, directory)
    for name, value in (("ingest", ingest), ("curves", curves), ("summaries", summaries)):
        broker.context.set_global(name, value)
    broker.include_router(handlers.router)
    async with started(broker, repository.prepare):
        points = asyncio.create_task(BatchConsumer(broker, TELEMETRY_TRAINING, decode, ingest.recorded).run())
        yield Telemetry(ingest, curves, summaries, repository, bus)
        points.cancel()
        await asyncio.gather(points, return_exceptions=True)
    await client.drop_database(settings.telemetry_database)
    await client.close()


def new_job() -> str:
    return f"job_{uuid.uuid4().hex[:16]}"


def loss(job: str, n: int, fence: int = 1, train_loss: float = 1.0) -> LossRecorded:
    point = LossPoint(
        iteration=n,
        epoch=1,
        step=n,
        train_loss=train_loss,
        validation_loss=2.0,
        learning_rate=1e-4,
        batch_size=8,
        timestamp=BEGAN + timedelta(seconds=n),
    )
    return LossRecorded(
        job_id=job,
        fence=fence,
        training_mode="manual",
        total=500,
        total_steps=500,
        total_epochs=2,
        point=point,
    )


def sample(job: str, number: int, fence: int = 1, second: int | None = None) -> ResourcesRecorded:
    measured = ResourceSample(
        iteration=0,
        cpu_percent=float(number),
        ram_used_gb=1,
        ram_total_gb=2,
        gpu_percent=0,
        vram_used_gb=0,
        vram_total_gb=0,
        disk_used_gb=1,
        disk_total_gb=2,
        gpu_temp=None,
        cpu_temp=None,
        network_in_mbps=0,
        network_out_mbps=0,
        gpu_count=0,
        timestamp=BEGAN + timedelta(seconds=number if second is None else second),
    )
    return ResourcesRecorded(job_id=job, fence=fence, number=number, sample=measured)


def log_line(job: str, number: int, fence: int = 1) -> LogRecorded:
    line = LogLine(number=number, level="info", text=f"line {number}", timestamp=BEGAN)
    return LogRecorded(job_id=job, fence=fence, line=line)


def started_event(job: str, rev: int = 3, fence: int = 1, resume_step: int = 0) -> JobEvent:
    return JobEvent(
        uid=job,
        rev=rev,
        type=JobEventType.STARTED,
        at=BEGAN,
        status=Status.RUNNING,
        name="A job",
        training_mode="manual",
        fence=fence,
        attempt=1,
        resume_step=resume_step,
        total_epochs=2,
        started_at=utc_now(),
    )


async def publish(bus: Bus, recorded: LossRecorded, id: str) -> None:
    await bus.publish(
        event(
            subject=subjects.training_event(TrainingKind.LOSS, recorded.job_id),
            id=id,
            type="dev.tunedeck.training.loss.v1",
            source="/test",
            about=recorded.job_id,
            data=recorded,
        )
    )


async def until(true: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not await true():
            await asyncio.sleep(0.02)
