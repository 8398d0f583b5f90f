"""The live stream of one job to one client.

A core subscription, opened before the history is read, so that nothing falls
between; joined with telemetry's history by the cursor `seq`. What the
subscription missed (a full queue, a reconnect) shows as a gap and is read
from the history, which does not hurry: the live points do not wait for it
otherwise.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any

import structlog
from fastapi import WebSocket, WebSocketDisconnect
from nats.aio.msg import Msg
from pydantic import ValidationError

from tunedeck_chassis.bus import Bus
from tunedeck_contracts import rpc, subjects
from tunedeck_contracts.errors import NotFound, TunedeckError, Unavailable
from tunedeck_contracts.events import JobEvent, JobEventType
from tunedeck_contracts.ids import is_safe_id
from tunedeck_contracts.jobs import PAST, Status
from tunedeck_contracts.telemetry import (
    GetCurrentResources,
    GetHistory,
    History,
    HistoryPoint,
    sequence,
)
from tunedeck_contracts.training import LogRecorded, LossRecorded, ResourceSample, ResourcesRecorded
from tunedeck_gateway.curve_place import CurvePlace
from tunedeck_gateway.frames import encode, log_fields, point_frame, typed_frame

log = structlog.get_logger()

UNKNOWN_JOB = 4404
TRY_AGAIN_LATER = 1013
ENDED = 1000
HEARTBEAT_SECONDS = 15.0
CATCH_UP_SECONDS = 10.0
LOOK_SECONDS = 0.1
QUEUE_LENGTH = 2000
MOST_AT_ONCE = 1000


class LiveStream:
    """`after` is the last `seq` the client has; `typed` clients get status, logs and heartbeats too."""

    def __init__(self, websocket: WebSocket, bus: Bus, job_id: str, *, after: int, typed: bool) -> None:
        self._websocket = websocket
        self._bus = bus
        self._job_id = job_id
        self._place = CurvePlace(after)
        self._typed = typed
        self._queue: asyncio.Queue[Msg] = asyncio.Queue(QUEUE_LENGTH)
        self._missed = False
        self._resources: ResourceSample | None = None
        self._last_point: dict[str, Any] | None = None

    async def run(self) -> None:
        """Stream until the job has ended or the client has gone."""
        await self._websocket.accept()
        if not is_safe_id(self._job_id):
            return await self._websocket.close(UNKNOWN_JOB, "There is no such job.")
        work = asyncio.create_task(self._stream())
        gone = asyncio.create_task(self._until_gone())
        try:
            await asyncio.wait([work, gone], return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)

    async def _until_gone(self) -> None:
        while (await self._websocket.receive())["type"] != "websocket.disconnect":
            # What a client says is not asked for, text or not.
            pass

    async def _stream(self) -> None:
        subscriptions = [
            await self._bus.subscribe(subject, self._enqueue)
            for subject in (subjects.training_events_of(self._job_id), subjects.job_event(self._job_id))
        ]
        try:
            await self._follow()
        except WebSocketDisconnect:
            # The client has gone while something was on its way to it.
            log.debug("client_gone", job=self._job_id)
        except NotFound as error:
            await self._websocket.close(UNKNOWN_JOB, error.detail[:120])
        except TunedeckError as error:
            await self._websocket.close(TRY_AGAIN_LATER, error.detail[:120])
        finally:
            for subscription in subscriptions:
                with contextlib.suppress(Exception):
                    await subscription.unsubscribe()

    async def _enqueue(self, message: Msg) -> None:
        try:
            self._queue.put_nowait(message)
        except asyncio.QueueFull:
            self._missed = True

    async def _follow(self) -> None:
        history = await self._catch_up()
        await self._send_typed(
            "snapshot", status=history.status.value, total=history.total, fence=history.fence
        )
        if history.status in PAST:
            await self._finish(history.last_iteration or 0, history.status.value)
            return
        while not await self._is_finished_by(await self._next()):
            pass

    async def _next(self) -> Msg | None:
        """The next message, or None after a silence."""
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(self._queue.get(), HEARTBEAT_SECONDS)
        return None

    async def _is_finished_by(self, message: Msg | None) -> bool:
        """Tell the client what a message, or a silence, brings; whether it was the end.

        Through an outage the stream stays open: what it misses, the history knows afterwards.
        """
        try:
            # Silence may be a lost end.
            if message is None or self._missed:
                self._missed = False
                history = await self._catch_up()
                if history.status in PAST:
                    await self._finish(history.last_iteration or 0, history.status.value)
                    return True
            ended = await self._handle(message) if message is not None else None
            if ended is not None:
                await self._finish(ended.last_iteration or 0, ended.status.value)
                return True
        except Unavailable as error:
            log.warning("stream_waits", job=self._job_id, reason=error.detail)
            self._missed = True
        if message is None:
            await self._send_typed("heartbeat")
        return False

    async def _catch_up(self, before: int | None = None, deadline: float | None = None) -> History:
        """Show what is stored after the client's place, in order, up to the point with the seq `before`.

        A point that is missing in it is on its way to storage as a rule: it is waited for until the deadline,
        CATCH_UP_SECONDS by default, and then passed over.
        """
        count = MOST_AT_ONCE
        while True:
            asked = GetHistory(job_id=self._job_id, after=self._place.seq, limit=count)
            history = await self._bus.request(rpc.HISTORY_GET, asked)
            self._place.begins(history.fence, history.resume_step)
            can_wait = deadline is None or time.monotonic() < deadline
            shown = [one for one in history.points if before is None or one.seq < before]
            early = await self._show(history, shown, can_wait)
            if early:
                deadline = deadline or time.monotonic() + CATCH_UP_SECONDS
                await asyncio.sleep(LOOK_SECONDS)
            elif not history.more or len(shown) < len(history.points):
                return history
            count = 1 if early else MOST_AT_ONCE

    async def _show(self, history: History, points: Sequence[HistoryPoint], can_wait: bool) -> bool:
        """Show these, up to the first with one missing before it, if that can be waited for; whether there is
        one."""
        for stored in points:
            if can_wait and not self._place.has_reached(stored.fence, stored.point.iteration - 1):
                return True
            self._last_point = await self._frame_of(history, stored)
            self._place.seq = stored.seq
            await self._send(self._last_point)
        return False

    async def _handle(self, message: Msg) -> JobEvent | None:
        try:
            return await self._handle_kind(message)
        except ValidationError as error:
            # Telemetry parks it; one malformed message must not end the stream.
            log.warning("malformed_event", subject=message.subject, error=str(error))
            return None

    async def _handle_kind(self, message: Msg) -> JobEvent | None:
        job = self._job_id
        if message.subject == subjects.job_event(job):
            return await self._on_job_event(JobEvent.model_validate_json(message.data))
        if message.subject == subjects.training_event(subjects.TrainingKind.LOSS, job):
            await self._on_loss(LossRecorded.model_validate_json(message.data))
        elif message.subject == subjects.training_event(subjects.TrainingKind.RESOURCES, job):
            self._resources = ResourcesRecorded.model_validate_json(message.data).sample
        elif self._typed and message.subject == subjects.training_event(subjects.TrainingKind.LOG, job):
            recorded = LogRecorded.model_validate_json(message.data)
            await self._send_typed("log", **log_fields(recorded.line, recorded.fence))
        return None

    async def _on_job_event(self, event: JobEvent) -> JobEvent | None:
        if event.type is JobEventType.DELETED:
            raise NotFound(f"Job {self._job_id!r} was deleted.")
        if event.status in PAST:
            return event
        if event.status is Status.RUNNING:
            self._place.begins(event.fence, event.resume_step)
        await self._send_typed("status", status=event.status.value, event=event.type.value, fence=event.fence)
        return None

    async def _on_loss(self, recorded: LossRecorded) -> None:
        fence, iteration = recorded.fence, recorded.point.iteration
        if self._place.has(fence, iteration):
            return
        seq = sequence(fence, iteration)
        if not self._place.knows(fence) or not self._place.has_reached(fence, iteration - 1):
            await self._reach(iteration - 1, fence, before=seq)
            if self._place.has(fence, iteration):
                return
        self._last_point = point_frame(
            job_id=self._job_id,
            seq=seq,
            fence=fence,
            training_mode=recorded.training_mode,
            total=recorded.total,
            point=recorded.point,
            resources=await self._known_resources(),
        )
        self._place.seq = seq
        await self._send(self._last_point)

    async def _reach(self, iteration: int, fence: int | None = None, before: int | None = None) -> None:
        """Read history until it reaches this iteration of a run, by default of the last one."""
        deadline = time.monotonic() + CATCH_UP_SECONDS
        while True:
            await self._catch_up(before, deadline)
            run = self._place.last_run if fence is None else fence
            if self._place.has_reached(run, iteration) or time.monotonic() > deadline:
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _finish(self, last_iteration: int, status: str) -> None:
        if last_iteration:
            await self._reach(last_iteration)
            if self._last_point is None:
                last = sequence(self._place.last_run, last_iteration)
                self._last_point = await self._stored_frame(min(last, self._place.seq))
        if self._last_point is not None:
            await self._send({**self._last_point, "is_completed": True, "status": status})
        await self._send_typed("end", status=status, is_completed=True)
        await self._websocket.close(ENDED)

    async def _stored_frame(self, seq: int) -> dict[str, Any] | None:
        """The frame of one stored point, for a client that has it already and waits for the end."""
        asked = GetHistory(job_id=self._job_id, after=max(0, seq - 1), limit=1)
        history = await self._bus.request(rpc.HISTORY_GET, asked)
        return await self._frame_of(history, history.points[0]) if history.points else None

    async def _frame_of(self, history: History, stored: HistoryPoint) -> dict[str, Any]:
        self._resources = stored.resources or self._resources
        return point_frame(
            job_id=self._job_id,
            seq=stored.seq,
            fence=stored.fence,
            training_mode=history.training_mode,
            total=history.total,
            point=stored.point,
            resources=await self._known_resources(),
        )

    async def _known_resources(self) -> ResourceSample:
        """The newest sample that is known: every frame has one, and none is invented.

        A run's first sample may be on its way to storage while its first point is here already.

        Raises:
            Unavailable: neither the job nor an idle trainer has told any in time.
        """
        deadline = time.monotonic() + CATCH_UP_SECONDS
        while self._resources is None:
            try:
                asked = GetCurrentResources(job_id=self._job_id)
                self._resources = await self._bus.request(rpc.RESOURCE_CURRENT, asked)
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(LOOK_SECONDS)
        return self._resources

    async def _send(self, frame: dict[str, Any]) -> None:
        await self._websocket.send_text(encode(frame))

    async def _send_typed(self, kind: str, **fields: Any) -> None:
        if self._typed:
            await self._send(typed_frame(kind, self._job_id, self._place.seq, **fields))
