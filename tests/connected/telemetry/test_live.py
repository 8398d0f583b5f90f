"""The live stream over a real NATS: what a frame has from the first one on, and how a stream ends."""

import asyncio
import json
from typing import Any

import pytest
from fastapi import WebSocketDisconnect

from tests.support.telemetry_service import (
    NONE_STORED,
    Telemetry,
    loss,
    new_job,
    publish,
    sample,
    started_event,
    until,
)
from tunedeck_chassis.bus import Bus
from tunedeck_contracts import rpc, subjects
from tunedeck_contracts.cloudevents import event
from tunedeck_contracts.errors import Unavailable
from tunedeck_contracts.events import JobEvent, JobEventType
from tunedeck_contracts.jobs import Status
from tunedeck_contracts.telemetry import GetStored
from tunedeck_gateway import live


class Socket:
    """A WebSocket whose client only listens."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.closed: int | None = None

    async def accept(self) -> None:
        pass

    async def receive(self) -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send_text(self, text: str) -> None:
        self.frames.append(json.loads(text))

    async def close(self, code: int, reason: str | None = None) -> None:
        self.closed = code


async def tell(telemetry: Telemetry, told: JobEvent) -> None:
    await telemetry.bus.publish(
        event(
            subject=subjects.job_event(told.uid),
            id=f"{told.uid}:{told.rev}",
            type=told.type.cloudevent_type,
            source="/test",
            about=told.uid,
            data=told,
        )
    )


class Interrupted:
    """The bus, of which an outage takes the answers, and what it has answered."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.is_away = False
        self.refused = 0
        self.answered = 0
        self.subscribe = bus.subscribe

    async def request(self, asked: rpc.Rpc[Any, Any], message: Any) -> Any:
        if self.is_away:
            self.refused += 1
            raise Unavailable("The telemetry service is away.")
        answer = await self._bus.request(asked, message)
        self.answered += 1
        return answer


def watch(
    telemetry: Telemetry, job: str, bus: Interrupted | None = None
) -> tuple[Socket, asyncio.Task[None]]:
    socket: Any = Socket()
    asked: Any = bus or telemetry.bus
    stream = live.LiveStream(socket, asked, job, after=0, typed=False)
    return socket, asyncio.create_task(stream.run())


async def are_stored(telemetry: Telemetry, job: str, losses: int, fence: int = 1) -> bool:
    asked = GetStored(job_id=job, fence=fence, after=NONE_STORED)
    return (await telemetry.curves.stored(asked)).losses == losses


async def test_the_first_frame_waits_for_the_first_sample(telemetry: Telemetry) -> None:
    job = new_job()
    await telemetry.ingest.job_event(started_event(job))
    socket, stream = watch(telemetry, job)
    for n in (1, 2):
        await publish(telemetry.bus, loss(job, n), f"{job}:{n}")

    await until(lambda: are_stored(telemetry, job, 2))
    assert socket.frames == [], "a frame without its resources is none"
    await telemetry.ingest.recorded([sample(job, 1, second=0)])

    async def both() -> bool:
        return len(socket.frames) == 2

    await until(both)
    stream.cancel()
    assert [frame["iteration"] for frame in socket.frames] == [1, 2]
    assert [frame["resources"]["cpu_percent"] for frame in socket.frames] == [1.0, 1.0]


async def test_a_stream_that_can_have_no_sample_asks_to_come_again(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "CATCH_UP_SECONDS", 0.3)
    job = new_job()
    await telemetry.ingest.job_event(started_event(job))
    await telemetry.ingest.recorded([loss(job, 1)])
    socket, stream = watch(telemetry, job)
    await asyncio.wait_for(stream, 10)
    assert (socket.frames, socket.closed) == ([], live.TRY_AGAIN_LATER)


async def test_a_stream_stays_open_through_an_outage_and_misses_nothing(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "HEARTBEAT_SECONDS", 0.1)
    job, bus = new_job(), Interrupted(telemetry.bus)
    await telemetry.ingest.job_event(started_event(job))
    await telemetry.ingest.recorded([sample(job, 1, second=0), loss(job, 1)])
    socket, stream = watch(telemetry, job, bus)
    await until(lambda: asyncio.sleep(0, len(socket.frames) == 1))
    bus.is_away = True
    # The second point never came this way: the third shows a hole that cannot be filled now.
    await telemetry.ingest.recorded([loss(job, 2), loss(job, 3)])
    await publish(telemetry.bus, loss(job, 3), f"{job}:3")
    await until(lambda: asyncio.sleep(0, bus.refused >= 3))
    assert not stream.done()
    bus.is_away = False
    await until(lambda: asyncio.sleep(0, len(socket.frames) == 3))
    stream.cancel()
    assert [frame["iteration"] for frame in socket.frames] == [1, 2, 3]


async def test_a_point_that_is_stored_after_its_successor_is_shown_before_it(telemetry: Telemetry) -> None:
    job, bus = new_job(), Interrupted(telemetry.bus)
    await telemetry.ingest.job_event(started_event(job))
    await telemetry.ingest.recorded([sample(job, 1, second=0), loss(job, 1), loss(job, 3)])
    socket, stream = watch(telemetry, job, bus)
    await until(lambda: asyncio.sleep(0, bus.answered > 1))
    assert [frame["iteration"] for frame in socket.frames] == [1]
    await telemetry.ingest.recorded([loss(job, 2)])
    await until(lambda: asyncio.sleep(0, len(socket.frames) == 3))
    stream.cancel()
    assert [frame["iteration"] for frame in socket.frames] == [1, 2, 3]


async def test_a_stream_goes_on_over_a_point_that_never_comes(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "CATCH_UP_SECONDS", 0.3)
    job = new_job()
    await telemetry.ingest.job_event(started_event(job))
    await telemetry.ingest.recorded([sample(job, 1, second=0), loss(job, 2)])
    socket, stream = watch(telemetry, job)
    await until(lambda: asyncio.sleep(0, len(socket.frames) == 1))
    stream.cancel()
    assert socket.frames[0]["iteration"] == 2


async def test_the_end_of_a_lost_run_is_told_at_once(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "CATCH_UP_SECONDS", 600)
    job, bus = new_job(), Interrupted(telemetry.bus)
    await telemetry.ingest.job_event(started_event(job))
    await telemetry.ingest.recorded([sample(job, 1, second=0), loss(job, 1), loss(job, 2)])
    socket, stream = watch(telemetry, job, bus)
    await until(lambda: asyncio.sleep(0, len(socket.frames) == 2))
    # The report of the loss has raised the fence.
    given_up = {"status": Status.FAILED, "type": JobEventType.FAILED, "last_iteration": 2}

    async def ended() -> bool:
        await tell(telemetry, started_event(job, rev=5, fence=2).model_copy(update=given_up))
        return stream.done()

    await until(ended)
    assert [frame["iteration"] for frame in socket.frames] == [1, 2, 2]
    assert socket.frames[-1]["status"] == "failed"


@pytest.mark.parametrize("is_heard", [True, False], ids=["its start is heard", "its start is missed"])
async def test_the_end_of_a_run_that_went_on_is_told_with_all_its_points_and_at_once(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch, is_heard: bool
) -> None:
    monkeypatch.setattr(live, "CATCH_UP_SECONDS", 600)
    job = new_job()
    await telemetry.ingest.job_event(started_event(job))
    await telemetry.ingest.recorded([sample(job, 1, second=0), *(loss(job, n) for n in range(1, 6))])
    socket, stream = watch(telemetry, job)
    await until(lambda: asyncio.sleep(0, len(socket.frames) == 5))
    again = started_event(job, rev=5, fence=2, resume_step=3)
    await telemetry.ingest.job_event(again)
    if is_heard:
        # Ended before a step of its own: its last point is one that it told again.
        await tell(telemetry, again)
    else:
        await telemetry.ingest.recorded([loss(job, 4, fence=2)])
    last = 3 if is_heard else 4
    ended = {"status": Status.FAILED, "type": JobEventType.FAILED, "last_iteration": last}
    await tell(telemetry, started_event(job, rev=6, fence=3, resume_step=3).model_copy(update=ended))
    await until(lambda: asyncio.sleep(0, stream.done()))
    told = [(frame["fence"], frame["iteration"]) for frame in socket.frames]
    assert told[5:] == ([(1, 5)] if is_heard else [(2, 4), (2, 4)])
    assert socket.frames[-1]["is_completed"] is True


async def test_a_client_that_goes_while_a_frame_is_on_its_way_is_no_error(telemetry: Telemetry) -> None:
    job = new_job()
    await telemetry.ingest.job_event(started_event(job))
    await telemetry.ingest.recorded([sample(job, 1, second=0), loss(job, 1)])

    class Gone(Socket):
        async def send_text(self, text: str) -> None:
            raise WebSocketDisconnect(1006)

    socket: Any = Gone()
    stream = live.LiveStream(socket, telemetry.bus, job, after=0, typed=False)
    await asyncio.wait_for(stream.run(), 10)
    assert socket.closed is None


async def test_the_deletion_of_a_job_ends_its_stream(telemetry: Telemetry) -> None:
    job = new_job()
    waiting = {"status": Status.CREATED, "type": JobEventType.CREATED, "started_at": None}
    await telemetry.ingest.job_event(started_event(job, rev=1, fence=0).model_copy(update=waiting))
    await telemetry.ingest.recorded([sample("trainer_1", 1, fence=0)])
    bus = Interrupted(telemetry.bus)
    socket, stream = watch(telemetry, job, bus)
    await until(lambda: asyncio.sleep(0, bus.answered > 0))
    gone = {**waiting, "type": JobEventType.DELETED}

    async def ended() -> bool:
        await tell(telemetry, started_event(job, rev=2, fence=0).model_copy(update=gone))
        return stream.done()

    await until(ended)
    assert (socket.frames, socket.closed) == ([], live.UNKNOWN_JOB)


async def test_what_a_resumed_run_tells_again_is_not_shown_again(telemetry: Telemetry) -> None:
    job = new_job()
    await telemetry.ingest.job_event(started_event(job))
    await telemetry.ingest.recorded([sample(job, 1, second=0), *(loss(job, n) for n in range(1, 5))])
    socket, stream = watch(telemetry, job)

    async def shown(count: int) -> bool:
        return len(socket.frames) >= count

    await until(lambda: shown(4))
    # The run went on from step 3: it tells 1 to 3 again, and the 4 is its own.
    again = started_event(job, rev=5, fence=2, resume_step=3)
    await telemetry.ingest.job_event(again)
    await tell(telemetry, again)
    for n in range(1, 7):
        await publish(telemetry.bus, loss(job, n, fence=2), f"{job}:2:{n}")
    await until(lambda: shown(7))
    await until(lambda: are_stored(telemetry, job, 6, fence=2))
    late, late_stream = watch(telemetry, job)
    await until(lambda: asyncio.sleep(0, len(late.frames) >= 6))
    await publish(telemetry.bus, loss(job, 7, fence=2), f"{job}:2:7")
    await until(lambda: asyncio.sleep(0, socket.frames[-1]["iteration"] == late.frames[-1]["iteration"] == 7))
    for task in (stream, late_stream):
        task.cancel()
    told = [(frame["fence"], frame["iteration"]) for frame in socket.frames]
    assert told == [(1, 1), (1, 2), (1, 3), (1, 4), (2, 4), (2, 5), (2, 6), (2, 7)]
    told = [(frame["fence"], frame["iteration"]) for frame in late.frames]
    assert told == [(1, 1), (1, 2), (1, 3), (2, 4), (2, 5), (2, 6), (2, 7)]


async def test_what_never_arrived_of_a_lost_run_is_shown_as_it_is_told_again(telemetry: Telemetry) -> None:
    job = new_job()
    await telemetry.ingest.job_event(started_event(job))
    await telemetry.ingest.recorded([sample(job, 1, second=0), loss(job, 1), loss(job, 2)])
    socket, stream = watch(telemetry, job)
    await until(lambda: asyncio.sleep(0, len(socket.frames) >= 2))
    again = started_event(job, rev=5, fence=2, resume_step=4)
    await telemetry.ingest.job_event(again)
    await tell(telemetry, again)
    for n in range(1, 7):
        await publish(telemetry.bus, loss(job, n, fence=2), f"{job}:2:{n}")
    await until(lambda: asyncio.sleep(0, bool(socket.frames) and socket.frames[-1]["iteration"] == 6))
    stream.cancel()
    assert [frame["iteration"] for frame in socket.frames] == [1, 2, 3, 4, 5, 6]
