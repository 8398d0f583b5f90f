"""Publishes the outbox: at least once, in order for each job, and again until the stream has it."""

import asyncio

import structlog

from tunedeck_chassis.bus import Bus
from tunedeck_chassis.crash_points import reached
from tunedeck_contracts import subjects
from tunedeck_contracts.cloudevents import Event, event
from tunedeck_contracts.events import JobEventType, JobStart
from tunedeck_jobs.record import PendingEvent
from tunedeck_jobs.repository.jobs import JobRepository

log = structlog.get_logger()

SOURCE = "/tunedeck/jobs"
LOOK_SECONDS = 1.0
_WAKES_TRAINERS = {JobEventType.QUEUED, JobEventType.REQUEUED, JobEventType.RESUMED}


class Relay:
    """Any replica may run it: the event's id absorbs what two publish."""

    def __init__(self, repository: JobRepository, bus: Bus) -> None:
        self._repository = repository
        self._bus = bus
        self._kicked = asyncio.Event()

    def kick(self) -> None:
        """Look now: something was just written."""
        self._kicked.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            self._kicked.clear()
            try:
                await self.publish_pending()
            except Exception as error:
                log.warning("relay_waits", error=repr(error))
            try:
                await asyncio.wait_for(self._kicked.wait(), LOOK_SECONDS)
            except TimeoutError:
                continue

    async def publish_pending(self) -> int:
        """Publish what the outboxes hold; return how many events."""
        count = 0
        for outbox in await self._repository.unpublished():
            for pending in outbox:
                await self._publish(pending)
                count += 1
        return count

    async def _publish(self, pending: PendingEvent) -> None:
        told = pending.event
        await self._bus.publish(to_cloudevent(pending))
        reached("jobs.event_published")
        if told.type in _WAKES_TRAINERS:
            await self._bus.publish(wake_up(pending))
            reached("jobs.start_published")
        await self._repository.published(told.uid, told.rev)
        reached("jobs.event_pulled")


def to_cloudevent(pending: PendingEvent) -> Event:
    """The event on `job.event.<uid>`."""
    told = pending.event
    return event(
        subject=subjects.job_event(told.uid),
        id=pending.message_id,
        type=told.type.cloudevent_type,
        source=SOURCE,
        about=told.uid,
        data=told,
    )


def wake_up(pending: PendingEvent) -> Event:
    """The wake-up of trainers that goes with a queued job."""
    told = pending.event
    return event(
        subject=subjects.JOB_START,
        id=f"{told.uid}:{told.rev}:start",
        type="dev.tunedeck.job.start.v1",
        source=SOURCE,
        about=told.uid,
        data=JobStart(uid=told.uid),
    )
