"""Telemetry against a real NATS and a real MongoDB: every point once, whatever comes twice or late."""

import asyncio
import base64
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import nats
import pytest

from tunedeck_chassis import mongo
from tunedeck_chassis.batches import BatchConsumer
from tunedeck_chassis.broker import create_broker
from tunedeck_chassis.bus import Bus
from tunedeck_chassis.provisioning import provision
from tunedeck_chassis.service import started
from tunedeck_contracts import rpc, subjects
from tunedeck_contracts.cloudevents import STATUS, event
from tunedeck_contracts.errors import NotFound, Unavailable
from tunedeck_contracts.events import JobEvent, JobEventType
from tunedeck_contracts.jobs import Status
from tunedeck_contracts.message import utc_now
from tunedeck_contracts.streams import TELEMETRY_TRAINING
from tunedeck_contracts.subjects import TrainingKind
from tunedeck_contracts.telemetry import DeadLetter, GetHistory, GetStored, Stored, sequence
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
    bus: Bus


@pytest.fixture
async def telemetry(nats_url: str, mongo_url: str) -> AsyncIterator[Telemetry]:
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
        yield Telemetry(ingest, curves, summaries, bus)
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


async def test_points_that_come_twice_are_stored_once_and_in_order(telemetry: Telemetry) -> None:
    job = new_job()
    await telemetry.ingest.job_event(started_event(job))
    twice = [loss(job, n) for n in [*range(250, 0, -1), *range(1, 251)]]
    for n, recorded in enumerate(twice):
        await publish(telemetry.bus, recorded, f"{job}:{n}")

    async def complete() -> bool:
        asked = GetStored(job_id=job, fence=1, after=NONE_STORED)
        return (await telemetry.curves.stored(asked)).losses == 250

    await until(complete)
    points = await telemetry.curves.losses(job, 10_000)
    assert [point.iteration for point in points] == list(range(1, 251))


async def test_a_hole_holds_the_watermark(telemetry: Telemetry) -> None:
    job = new_job()
    numbers = [n for n in range(1, 321) if n != 150]
    await telemetry.ingest.recorded([loss(job, n) for n in numbers])
    await telemetry.ingest.recorded([log_line(job, n) for n in range(1, 8)])
    asked = GetStored(job_id=job, fence=1, after=NONE_STORED)
    assert await telemetry.curves.stored(asked) == Stored(losses=149, resources=0, logs=7)
    await telemetry.ingest.recorded([loss(job, 150)])
    later = GetStored(job_id=job, fence=1, after=Stored(losses=149, resources=0, logs=7))
    assert (await telemetry.curves.stored(later)).losses == 320


async def test_a_newer_fence_replaces_the_points_that_it_owns(telemetry: Telemetry) -> None:
    job = new_job()
    await telemetry.ingest.job_event(started_event(job))
    await telemetry.ingest.recorded([loss(job, n, fence=1) for n in range(1, 11)])
    await telemetry.ingest.job_event(started_event(job, rev=5, fence=3, resume_step=4))
    await telemetry.ingest.recorded([loss(job, n, fence=3, train_loss=9.0) for n in range(5, 8)])
    points = await telemetry.curves.losses(job, 100)
    assert [(one.iteration, one.train_loss) for one in points] == [
        *[(n, 1.0) for n in range(1, 5)],
        *[(n, 9.0) for n in range(5, 8)],
    ]
    late = [loss(job, 11, fence=1)]
    await telemetry.ingest.recorded(late)
    assert (await telemetry.curves.losses(job, 1))[0].iteration == 7, (
        "a replaced run's late point is not seen"
    )


@pytest.mark.parametrize("page", [1, 7, 1000])
async def test_the_history_has_no_gap_and_no_duplicate_at_any_page_size(
    telemetry: Telemetry, page: int
) -> None:
    job = new_job()
    await telemetry.ingest.job_event(started_event(job))
    await telemetry.ingest.recorded([loss(job, n) for n in range(1, 206)])
    await telemetry.ingest.recorded([sample(job, n, second=n * 10) for n in range(1, 21)])
    seen, after = [], sequence(1, 190)
    while True:
        history = await telemetry.curves.history(GetHistory(job_id=job, after=after, limit=page))
        seen += history.points
        if not history.more:
            break
        after = history.points[-1].seq
    assert [one.seq for one in seen] == [sequence(1, n) for n in range(191, 206)]
    assert history.total == 500
    cpu = [one.resources.cpu_percent for one in seen if one.resources]
    assert cpu == [19.0] * 9 + [20.0] * 6, "each point has the sample taken no later than itself"


async def test_events_that_come_late_or_twice_change_nothing(telemetry: Telemetry) -> None:
    job = new_job()
    ended = started_event(job, rev=4).model_copy(update={"status": Status.COMPLETED, "last_iteration": 3})
    for told in (ended, started_event(job, rev=3), ended):
        await telemetry.ingest.job_event(told)
    await telemetry.ingest.recorded([loss(job, n) for n in range(1, 4)])
    status = await telemetry.summaries.status(job)
    assert (status.status, status.progress_percent, status.current_step) == (Status.COMPLETED, 100.0, 3)
    assert (await telemetry.curves.history(GetHistory(job_id=job))).last_iteration == 3


async def test_without_a_job_the_idle_trainers_samples_are_shown(telemetry: Telemetry) -> None:
    with pytest.raises(Unavailable, match="Training data not available"):
        await telemetry.curves.resources(None, 5)
    await telemetry.ingest.recorded([sample("trainer_1", n, fence=0) for n in range(1, 4)])
    samples = await telemetry.curves.resources(None, 2)
    assert [one.cpu_percent for one in samples] == [2.0, 3.0]
    with pytest.raises(Unavailable, match="Training data not available"):
        await telemetry.curves.losses(None, 5)


async def test_the_last_200_lines_go_over_the_runs(telemetry: Telemetry) -> None:
    job = new_job()
    await telemetry.ingest.job_event(started_event(job))
    await telemetry.ingest.recorded([log_line(job, n, fence=1) for n in range(1, 151)])
    await telemetry.ingest.recorded([log_line(job, n, fence=2) for n in range(1, 101)])
    lines = (await telemetry.curves.logs(job, 200)).lines
    assert [(line.fence, line.number) for line in lines] == [
        *[(1, n) for n in range(51, 151)],
        *[(2, n) for n in range(1, 101)],
    ]


def broken(job: str) -> bytes:
    return b"{broken"


def infinite(job: str) -> bytes:
    return loss(job, 42).to_json().replace(b'"train_loss":1.0', b'"train_loss":1e999')


def huge_fence(job: str) -> bytes:
    return loss(job, 42).to_json().replace(b'"fence":1', b'"fence":1' + b"0" * 30)


def huge_step(job: str) -> bytes:
    return loss(job, 42).to_json().replace(b'"step":42', b'"step":1' + b"0" * 30)


def huge_total(job: str) -> bytes:
    return loss(job, 42).to_json().replace(b'"total":500', b'"total":1' + b"0" * 30)


@pytest.mark.parametrize(
    "bad", [broken, infinite, huge_fence, huge_step, huge_total], ids=lambda one: one.__name__
)
async def test_one_bad_point_among_99_good_ones_is_parked_alone(
    telemetry: Telemetry, nats_url: str, bad: Callable[[str], bytes]
) -> None:
    job = new_job()
    subject = subjects.training_event(TrainingKind.LOSS, job)
    bodies = [loss(job, n).to_json() for n in range(1, 100)]
    bodies.insert(42, bad(job))
    client = await nats.connect(nats_url)
    try:
        await asyncio.gather(*(client.jetstream().publish(subject, body) for body in bodies))

        async def complete() -> bool:
            asked = GetStored(job_id=job, fence=1, after=NONE_STORED)
            return (await telemetry.curves.stored(asked)).losses == 99

        # Longer than `ack_wait`: a batch that the client lost comes again after it.
        await until(complete, seconds=40)
        assert await parked(client, subject) == [bad(job)]
    finally:
        await client.close()


async def parked(client: nats.NATS, subject: str) -> list[bytes]:
    consumer = await client.jetstream().pull_subscribe(subjects.DEAD_LETTERS, stream="DLQ")
    letters = []
    try:
        while True:
            found = await consumer.fetch(100, timeout=0.5)
            letters += [DeadLetter.model_validate_json(message.data) for message in found]
    except nats.errors.TimeoutError:
        return [base64.b64decode(one.data) for one in letters if one.subject == subject]


async def test_a_lone_point_is_stored_within_half_a_second(telemetry: Telemetry) -> None:
    job = new_job()
    before = time.monotonic()
    await publish(telemetry.bus, loss(job, 1), job)

    async def complete() -> bool:
        asked = GetStored(job_id=job, fence=1, after=NONE_STORED)
        return (await telemetry.curves.stored(asked)).losses == 1

    await until(complete)
    assert time.monotonic() - before < 0.5


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
async def test_the_totals_are_the_newest_runs_in_whatever_order_a_batch_has_them(
    telemetry: Telemetry, order: tuple[int, int]
) -> None:
    job = new_job()
    await telemetry.ingest.job_event(started_event(job, fence=2))
    totals = {1: 99, 2: 8}
    told = [loss(job, 1, fence).model_copy(update={"total_steps": totals[fence]}) for fence in order]
    await telemetry.ingest.recorded(told)
    await telemetry.ingest.recorded([loss(job, 2, fence=1)])
    status = await telemetry.summaries.status(job)
    assert (status.total_steps, status.progress_percent) == (8, 12.5)


async def test_a_point_has_the_first_sample_when_none_is_earlier_and_none_without_any(
    telemetry: Telemetry,
) -> None:
    job = new_job()
    await telemetry.ingest.job_event(started_event(job))
    await telemetry.ingest.recorded([loss(job, 1), loss(job, 2)])
    bare = await telemetry.curves.history(GetHistory(job_id=job))
    assert [one.resources for one in bare.points] == [None, None]
    await telemetry.ingest.recorded([sample(job, 1, second=10), sample(job, 2, second=20)])
    late = await telemetry.curves.history(GetHistory(job_id=job))
    assert [one.resources.cpu_percent for one in late.points if one.resources] == [1.0, 1.0]


async def test_a_job_that_waits_has_a_status_and_no_data_yet(telemetry: Telemetry) -> None:
    job = new_job()
    waiting = started_event(job, rev=1, fence=0)
    await telemetry.ingest.job_event(
        waiting.model_copy(update={"status": Status.QUEUED, "type": JobEventType.QUEUED, "started_at": None})
    )
    status = await telemetry.summaries.status(job)
    assert (status.current_step, status.progress_percent, status.estimated_remaining) == (0, 0.0, "unknown")
    with pytest.raises(Unavailable, match="Training data not available"):
        await telemetry.summaries.summary(job)


async def test_an_unknown_job_is_asked_for_and_not_found(telemetry: Telemetry, nats_url: str) -> None:
    job = new_job()
    refusal = NotFound(f"There is no job {job!r}.").reply()
    client = await nats.connect(nats_url)

    async def refuse(message: nats.aio.msg.Msg) -> None:
        await client.publish(message.reply, refusal.to_json(), headers={STATUS: str(refusal.status_code)})

    await client.subscribe(rpc.JOB_GET.subject, cb=refuse)
    await client.flush()
    try:
        with pytest.raises(NotFound, match=f"There is no job '{job}'."):
            await telemetry.summaries.status(job)
    finally:
        await client.close()
