"""The telemetry service as a process, on a real NATS and a real MongoDB: stored once, read back whole."""

import asyncio
import base64
import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.msg import Msg

from tunedeck_chassis.broker import create_broker
from tunedeck_chassis.bus import Bus
from tunedeck_chassis.provisioning import provision
from tunedeck_chassis.settings import ServiceSettings
from tunedeck_contracts import rpc, subjects
from tunedeck_contracts.cloudevents import MESSAGE_ID, STATUS
from tunedeck_contracts.errors import NotFound, Unavailable
from tunedeck_contracts.events import JobEvent, JobEventType
from tunedeck_contracts.health import CheckHealth
from tunedeck_contracts.jobs import Status
from tunedeck_contracts.message import Message, utc_now
from tunedeck_contracts.subjects import TrainingKind
from tunedeck_contracts.telemetry import (
    DeadLetter,
    GetCurrentLoss,
    GetCurrentResources,
    GetHistory,
    GetStored,
    GetTrainingStatus,
    GetTrainingSummary,
    HistoryPoint,
    ListLogs,
    ListLosses,
    ListResources,
    Stored,
    sequence,
)
from tunedeck_contracts.training import (
    LogLine,
    LogRecorded,
    LossPoint,
    LossRecorded,
    ResourceSample,
    ResourcesRecorded,
)

NOTHING = Stored(losses=0, resources=0, logs=0)
START = utc_now() - timedelta(hours=1)


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def loss(uid: str, fence: int, iteration: int, *, train_loss: float = 1.0, total: int = 10) -> LossRecorded:
    point = LossPoint(
        iteration=iteration,
        epoch=1,
        step=iteration,
        train_loss=train_loss,
        validation_loss=2.0,
        learning_rate=0.1,
        batch_size=8,
        timestamp=at(iteration),
    )
    return LossRecorded(
        job_id=uid,
        fence=fence,
        training_mode="manual",
        total=total,
        total_steps=total,
        total_epochs=2,
        point=point,
    )


def sample(uid: str, fence: int, number: int, second: float) -> ResourcesRecorded:
    zeros = {name: 0.0 for name, field in ResourceSample.model_fields.items() if field.annotation is float}
    taken = ResourceSample.model_validate(
        {**zeros, "iteration": 0, "gpu_temp": None, "cpu_temp": None, "gpu_count": 0, "timestamp": at(second)}
    )
    return ResourcesRecorded(
        job_id=uid, fence=fence, number=number, sample=taken.model_copy(update={"cpu_percent": float(number)})
    )


def line(uid: str, fence: int, number: int) -> LogRecorded:
    text = f"{fence}-{number}"
    return LogRecorded(
        job_id=uid, fence=fence, line=LogLine(number=number, level="info", text=text, timestamp=at(number))
    )


def job_event(uid: str, rev: int, kind: JobEventType, status: Status, **more: Any) -> JobEvent:
    fields = {"name": "n", "training_mode": "manual", "fence": 1, "attempt": 1, "started_at": None, **more}
    return JobEvent.model_validate(
        {"uid": uid, "rev": rev, "type": kind, "at": utc_now(), "status": status, **fields}
    )


def started_event(uid: str, rev: int, fence: int, resume_step: int = 0) -> JobEvent:
    now = utc_now()
    return job_event(
        uid, rev, JobEventType.STARTED, Status.RUNNING, fence=fence, resume_step=resume_step, started_at=now
    )


@dataclass
class Telemetry:
    """The running service, and the bus to it."""

    bus: Bus
    client: nats.NATS

    async def publish(self, subject: str, data: bytes, message_id: str | None = None) -> None:
        headers = {MESSAGE_ID: message_id or uuid.uuid4().hex}
        await self.client.jetstream().publish(subject, data, headers=headers)

    async def tell(self, *recorded: Message) -> None:
        """Publish under ids of their own, so that the stream absorbs no repetition."""
        await asyncio.gather(*(self.publish(subject_of(one), one.to_json()) for one in recorded))

    async def stored(self, uid: str, fence: int = 1, after: Stored = NOTHING) -> Stored:
        return await self.bus.request(rpc.STORED_GET, GetStored(job_id=uid, fence=fence, after=after))

    async def until_stored(self, uid: str, fence: int, losses: int) -> None:
        async def is_there() -> bool:
            return (await self.stored(uid, fence)).losses >= losses

        await until(f"{losses} points of {uid}", is_there)

    async def until_rev(self, uid: str, status: Status) -> None:
        async def is_so() -> bool:
            with contextlib.suppress(NotFound, Unavailable):
                return (await self.bus.request(rpc.STATUS_GET, GetTrainingStatus(job_id=uid))).status is status
            return False

        await until(f"{uid} is {status}", is_so)

    async def history(self, uid: str, limit: int = 5000, after: int = 0) -> list[HistoryPoint]:
        """Page by page, as a live stream reads it."""
        points: list[HistoryPoint] = []
        while True:
            asked = GetHistory(job_id=uid, after=after, limit=limit)
            page = await self.bus.request(rpc.HISTORY_GET, asked)
            points += page.points
            if not page.more:
                return points
            after = page.points[-1].seq


def subject_of(message: Message) -> str:
    match message:
        case LossRecorded(job_id=uid):
            return subjects.training_event(TrainingKind.LOSS, uid)
        case ResourcesRecorded(job_id=uid):
            return subjects.training_event(TrainingKind.RESOURCES, uid)
        case LogRecorded(job_id=uid):
            return subjects.training_event(TrainingKind.LOG, uid)
        case JobEvent(uid=uid):
            return subjects.job_event(uid)
    raise TypeError(type(message))


async def until(what: str, true: Callable[[], Awaitable[bool]], seconds: float = 15.0) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not await true():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {seconds:.0f} s: {what}") from None


@pytest.fixture(scope="module")
def service(nats_url: str, mongo_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The process; its log."""
    asyncio.run(provision(nats_url))
    log = tmp_path_factory.mktemp("telemetry") / "log"
    environment = {
        **os.environ,
        "TUNEDECK_NATS_URL": nats_url,
        "TUNEDECK_MONGO_URL": mongo_url,
        "TUNEDECK_TELEMETRY_DATABASE": f"telemetry_{uuid.uuid4().hex[:12]}",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tunedeck_telemetry"], env=environment, stdout=output, stderr=output
        )
    yield log
    process.terminate()
    assert process.wait(20) == 0, log.read_text()[-2000:]


@pytest.fixture
async def telemetry(service: Path, nats_url: str) -> AsyncIterator[Telemetry]:
    broker = create_broker(ServiceSettings(nats_url=nats_url), "probe")
    await broker.connect()
    client = await nats.connect(nats_url)
    bus = Bus(broker)
    health = await bus.request(rpc.health_check("telemetry"), CheckHealth(), timeout=20)
    assert health.status == "healthy", health.problems
    yield Telemetry(bus, client)
    await client.close()
    broker.context.get("closed_guard").stopping = True
    await broker.stop()


@pytest.fixture
def uid() -> str:
    return f"job_{uuid.uuid4().hex}"


async def parked(client: nats.NATS, subject: str) -> list[DeadLetter]:
    consumer = await client.jetstream().pull_subscribe(subjects.DEAD_LETTERS, stream="DLQ")
    letters = []
    with contextlib.suppress(nats.errors.TimeoutError):
        while True:
            for message in await consumer.fetch(100, timeout=0.5):
                letters.append(DeadLetter.model_validate_json(message.data))
    return [one for one in letters if one.subject == subject]


async def test_points_published_twice_are_stored_once(telemetry: Telemetry, uid: str) -> None:
    points = [loss(uid, 1, n) for n in range(1, 6)]
    await telemetry.tell(started_event(uid, 1, 1), *points, *points)
    await telemetry.until_stored(uid, 1, 5)
    await telemetry.until_rev(uid, Status.RUNNING)
    found = await telemetry.bus.request(rpc.LOSS_LIST, ListLosses(job_id=uid))
    assert [one.iteration for one in found.points] == [1, 2, 3, 4, 5]
    assert [one.point.iteration for one in await telemetry.history(uid)] == [1, 2, 3, 4, 5]


async def test_a_lone_point_is_stored_within_half_a_second(telemetry: Telemetry, uid: str) -> None:
    before = time.monotonic()
    await telemetry.tell(loss(uid, 1, 1))
    await telemetry.until_stored(uid, 1, 1)
    assert time.monotonic() - before < 0.5


def too_large_a_fence(uid: str) -> bytes:
    return loss(uid, 1, 42).to_json().replace(b'"fence":1', b'"fence":1' + b"0" * 30)


def too_large_a_step(uid: str) -> bytes:
    return loss(uid, 1, 42).to_json().replace(b'"step":42', b'"step":1' + b"0" * 30)


def not_json(uid: str) -> bytes:
    return b"{broken"


def a_loss_that_is_infinite(uid: str) -> bytes:
    return loss(uid, 1, 42).to_json().replace(b'"train_loss":1.0', b'"train_loss":1e999')


@pytest.mark.parametrize(
    "bad", [not_json, a_loss_that_is_infinite, too_large_a_fence, too_large_a_step], ids=lambda one: one.__name__
)
async def test_one_bad_point_among_99_good_ones_is_parked_alone(
    telemetry: Telemetry, uid: str, bad: Callable[[str], bytes]
) -> None:
    subject = subject_of(loss(uid, 1, 1))
    bodies = [loss(uid, 1, n).to_json() for n in range(1, 100)]
    bodies.insert(42, bad(uid))
    await asyncio.gather(*(telemetry.publish(subject, body) for body in bodies))
    await telemetry.until_stored(uid, 1, 99)
    letters = await parked(telemetry.client, subject)
    assert [base64.b64decode(one.data) for one in letters] == [bad(uid)]
    await asyncio.sleep(0.3)
    assert (await telemetry.stored(uid)).losses == 99


@pytest.mark.parametrize("data", [b"{", b"{}", b"[]", b"\xff"])
async def test_a_malformed_job_event_is_parked_and_the_next_is_applied(
    telemetry: Telemetry, uid: str, data: bytes
) -> None:
    await telemetry.publish(subjects.job_event(uid), data)
    await telemetry.tell(started_event(uid, 1, 1))
    await telemetry.until_rev(uid, Status.RUNNING)
    assert len(await parked(telemetry.client, subjects.job_event(uid))) == 1


async def test_the_watermark_stops_at_a_hole_and_goes_on_when_it_is_filled(
    telemetry: Telemetry, uid: str
) -> None:
    await telemetry.tell(*(loss(uid, 1, n) for n in range(1, 251) if n != 199))
    await telemetry.tell(*(line(uid, 1, n) for n in (2, 3)), sample(uid, 1, 1, 0))
    await until("all are stored", lambda: reaches(telemetry, uid, Stored(losses=250, resources=1, logs=3)))
    assert await telemetry.stored(uid) == Stored(losses=198, resources=1, logs=0)
    assert (await telemetry.stored(uid, after=Stored(losses=150, resources=0, logs=0))).losses == 198
    await telemetry.tell(loss(uid, 1, 199), line(uid, 1, 1))
    await until("the hole is filled", lambda: is_stored(telemetry, uid, losses=250, logs=3))


async def reaches(telemetry: Telemetry, uid: str, beyond: Stored) -> bool:
    """Whether the last of each kind is stored, whatever is missing before it."""
    before = Stored(losses=beyond.losses - 1, resources=beyond.resources - 1, logs=beyond.logs - 1)
    return await telemetry.stored(uid, after=before) == beyond


async def is_stored(telemetry: Telemetry, uid: str, losses: int, logs: int) -> bool:
    found = await telemetry.stored(uid)
    return (found.losses, found.logs) == (losses, logs)


async def test_a_watermark_is_of_one_fence(telemetry: Telemetry, uid: str) -> None:
    await telemetry.tell(loss(uid, 1, 1), loss(uid, 1, 2), loss(uid, 2, 1))
    await telemetry.until_stored(uid, 1, 2)
    await telemetry.until_stored(uid, 2, 1)
    assert await telemetry.stored(uid, fence=3) == NOTHING


async def test_history_has_no_gap_and_no_duplicate_whatever_the_page(telemetry: Telemetry, uid: str) -> None:
    await telemetry.tell(started_event(uid, 1, 1), *(loss(uid, 1, n, total=230) for n in range(1, 231)))
    await telemetry.until_stored(uid, 1, 230)
    await telemetry.until_rev(uid, Status.RUNNING)
    for limit in (7, 100, 115, 230, 5000):
        assert [one.seq for one in await telemetry.history(uid, limit)] == [
            sequence(1, n) for n in range(1, 231)
        ]
    assert [one.point.iteration for one in await telemetry.history(uid, after=sequence(1, 228))] == [229, 230]
    assert await telemetry.history(uid, after=sequence(1, 230)) == []


@pytest.mark.parametrize(("resume_step", "kept"), [(0, []), (3, [1, 2, 3])])
async def test_a_new_attempt_replaces_what_it_owns_in_every_answer(
    telemetry: Telemetry, uid: str, resume_step: int, kept: list[int]
) -> None:
    old = [loss(uid, 1, n) for n in range(1, 6)]
    new = [loss(uid, 2, n, train_loss=0.5, total=7) for n in range(resume_step + 1, 8)]
    await telemetry.tell(started_event(uid, 1, 1), started_event(uid, 2, 2, resume_step), *old, *new)
    after = Stored(losses=resume_step, resources=0, logs=0)
    await telemetry.until_stored(uid, 1, 5)
    await until("7 of fence 2", lambda: reached(telemetry, uid, 2, after, 7))
    await until("both fences are told", lambda: owns(telemetry, uid, resume_step))
    points = await telemetry.history(uid, limit=2)
    wanted = [sequence(1, n) for n in kept] + [sequence(2, n) for n in range(resume_step + 1, 8)]
    assert [one.seq for one in points] == wanted
    listed = await telemetry.bus.request(rpc.LOSS_LIST, ListLosses(job_id=uid))
    assert listed.points == [one.point for one in points]
    resumed = await telemetry.history(uid, after=sequence(1, 5))
    assert [one.seq for one in resumed] == [sequence(2, n) for n in range(resume_step + 1, 8)]


async def reached(telemetry: Telemetry, uid: str, fence: int, after: Stored, losses: int) -> bool:
    return (await telemetry.stored(uid, fence, after)).losses == losses


async def owns(telemetry: Telemetry, uid: str, resume_step: int) -> bool:
    with contextlib.suppress(NotFound, Unavailable):
        points = await telemetry.history(uid)
        return [one.seq for one in points].count(sequence(2, resume_step + 1)) == 1 and len(points) == 7
    return False


async def test_a_late_point_of_a_former_run_changes_no_total(telemetry: Telemetry, uid: str) -> None:
    await telemetry.tell(started_event(uid, 1, 1), started_event(uid, 2, 2))
    # Together, the older fence last: one batch holds both.
    await telemetry.tell(loss(uid, 2, 1, total=7), loss(uid, 1, 1, total=99))
    await telemetry.until_stored(uid, 1, 1)
    await telemetry.until_stored(uid, 2, 1)
    await telemetry.until_rev(uid, Status.RUNNING)
    await asyncio.sleep(0.3)
    status = await telemetry.bus.request(rpc.STATUS_GET, GetTrainingStatus(job_id=uid))
    assert (status.total_steps, status.current_step, status.progress_percent) == (7, 1, 14.3)


async def test_each_point_has_the_newest_sample_taken_no_later(telemetry: Telemetry, uid: str) -> None:
    samples = [sample(uid, 1, number, second) for number, second in ((1, 2.5), (2, 3.0), (3, 4.5))]
    await telemetry.tell(started_event(uid, 1, 1), *(loss(uid, 1, n) for n in range(1, 7)), *samples)
    await telemetry.until_stored(uid, 1, 6)
    await telemetry.until_rev(uid, Status.RUNNING)
    await until("the samples", lambda: reaches(telemetry, uid, Stored(losses=6, resources=3, logs=0)))
    for limit in (1, 5000):
        points = await telemetry.history(uid, limit)
        numbers = [one.resources.cpu_percent if one.resources else None for one in points]
        assert numbers == [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]


async def test_a_point_without_any_sample_has_none(telemetry: Telemetry, uid: str) -> None:
    await telemetry.tell(started_event(uid, 1, 1), loss(uid, 1, 1))
    await telemetry.until_stored(uid, 1, 1)
    await telemetry.until_rev(uid, Status.RUNNING)
    assert [one.resources for one in await telemetry.history(uid)] == [None]


async def test_an_older_revision_that_comes_late_changes_nothing(telemetry: Telemetry, uid: str) -> None:
    ended = job_event(
        uid, 4, JobEventType.COMPLETED, Status.COMPLETED, started_at=at(0), ended_at=at(90), last_iteration=1
    )
    await telemetry.tell(ended)
    await telemetry.until_rev(uid, Status.COMPLETED)
    await telemetry.tell(started_event(uid, 3, 1), loss(uid, 1, 1))
    await telemetry.until_stored(uid, 1, 1)
    await asyncio.sleep(0.3)
    status = await telemetry.bus.request(rpc.STATUS_GET, GetTrainingStatus(job_id=uid))
    assert (status.status, status.progress_percent) == (Status.COMPLETED, 100.0)
    assert (status.elapsed_time, status.estimated_remaining) == ("1m 30s", "~0s")
    history = await telemetry.bus.request(rpc.HISTORY_GET, GetHistory(job_id=uid))
    assert (history.last_iteration, history.fence) == (1, 1)


async def test_status_is_known_before_training(telemetry: Telemetry, uid: str) -> None:
    await telemetry.tell(job_event(uid, 1, JobEventType.CREATED, Status.CREATED, fence=0))
    await telemetry.until_rev(uid, Status.CREATED)
    status = await telemetry.bus.request(rpc.STATUS_GET, GetTrainingStatus(job_id=uid))
    assert (status.current_step, status.progress_percent, status.estimated_remaining) == (0, 0.0, "unknown")
    for request in (
        telemetry.bus.request(rpc.LOSS_CURRENT, GetCurrentLoss(job_id=uid)),
        telemetry.bus.request(rpc.SUMMARY_GET, GetTrainingSummary(job_id=uid)),
    ):
        with pytest.raises(Unavailable, match="Training data not available"):
            await request


async def test_the_summary_says_how_far_the_job_started_last_is(telemetry: Telemetry, uid: str) -> None:
    await telemetry.tell(started_event(uid, 1, 1), loss(uid, 1, 1), loss(uid, 1, 2), sample(uid, 1, 1, 0))
    await telemetry.until_stored(uid, 1, 2)
    await telemetry.until_rev(uid, Status.RUNNING)
    await until("the sample", lambda: reaches(telemetry, uid, Stored(losses=2, resources=1, logs=0)))
    summary = await telemetry.bus.request(rpc.SUMMARY_GET, GetTrainingSummary())
    assert (summary.job_id, summary.data_point, summary.is_completed) == (uid, "2/10", False)
    assert (await telemetry.bus.request(rpc.LOSS_CURRENT, GetCurrentLoss())).iteration == 2


async def test_resources_fall_back_to_an_idle_trainers(telemetry: Telemetry, uid: str) -> None:
    await telemetry.tell(started_event(uid, 1, 1))
    await telemetry.until_rev(uid, Status.RUNNING)
    trainer = f"trainer_{uuid.uuid4().hex}"
    await telemetry.tell(*(sample(trainer, 0, n, 3600 + n) for n in range(98, 103)))
    await until("idle samples", lambda: idle_is(telemetry, uid, 102.0))
    listed = await telemetry.bus.request(rpc.RESOURCE_LIST, ListResources(job_id=uid, last_n=4))
    assert [one.cpu_percent for one in listed.samples] == [99.0, 100.0, 101.0, 102.0]


async def idle_is(telemetry: Telemetry, uid: str, cpu_percent: float) -> bool:
    with contextlib.suppress(Unavailable):
        asked = GetCurrentResources(job_id=uid)
        return (await telemetry.bus.request(rpc.RESOURCE_CURRENT, asked)).cpu_percent == cpu_percent
    return False


async def test_logs_are_the_newest_lines_over_all_runs_in_order(telemetry: Telemetry, uid: str) -> None:
    lines = [line(uid, 1, n) for n in range(1, 151)] + [line(uid, 3, n) for n in range(1, 121)]
    await telemetry.tell(started_event(uid, 1, 1), *lines)
    await telemetry.until_rev(uid, Status.RUNNING)
    for fence, count in ((1, 150), (3, 120)):
        await until("the lines", lambda f=fence, n=count: logged(telemetry, uid, f, n))  # type: ignore[misc]
    found = await telemetry.bus.request(rpc.LOG_LIST, ListLogs(job_id=uid))
    wanted = [f"1-{n}" for n in range(71, 151)] + [f"3-{n}" for n in range(1, 121)]
    assert [one.text for one in found.lines] == wanted
    assert {one.fence for one in found.lines} == {1, 3}


async def logged(telemetry: Telemetry, uid: str, fence: int, count: int) -> bool:
    return (await telemetry.stored(uid, fence)).logs == count


async def test_an_unknown_job_is_asked_for_and_is_not_found(telemetry: Telemetry, uid: str) -> None:
    error = NotFound(f"There is no job {uid!r}.")

    async def refuse(message: Msg) -> None:
        await telemetry.client.publish(message.reply, error.reply().to_json(), headers={STATUS: "404"})

    subscription = await telemetry.client.subscribe(rpc.JOB_GET.subject, cb=refuse)
    await telemetry.client.flush()
    try:
        with pytest.raises(NotFound, match=f"There is no job '{uid}'."):
            await telemetry.bus.request(rpc.STATUS_GET, GetTrainingStatus(job_id=uid))
    finally:
        await subscription.unsubscribe()
