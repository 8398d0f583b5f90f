"""Tells all events of all jobs again when NATS has lost its store: MongoDB is the truth, the bus transport.

A stream is known by the time when it was made. Where that is not the time that is noted here, the stream is
another one, which does not have what was told before. The ids of the events absorb what it has.
"""

import asyncio

import structlog

from tunedeck_chassis.bus import Bus
from tunedeck_contracts.streams import JOBS
from tunedeck_jobs.record import PendingEvent
from tunedeck_jobs.relay import to_cloudevent
from tunedeck_jobs.repository.histories import Histories

log = structlog.get_logger()

LOOK_SECONDS = 2.0


class Republishing:
    """Any replica may do it, and all at once: what is told twice changes nothing."""

    def __init__(self, histories: Histories, bus: Bus) -> None:
        self._histories = histories
        self._bus = bus

    async def run(self) -> None:
        """Look until cancelled; an outage is waited out, and what it broke off is begun again."""
        while True:
            try:
                await self.look()
            except Exception as error:
                log.warning("republishing_waits", error=repr(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> int:
        """Tell everything again if the stream is a new one; return how many events that were.

        Raises:
            Unavailable: NATS does not answer, or has no stream yet.
        """
        made = await self._bus.made_at(JOBS)
        if made == await self._histories.told_to():
            return 0
        count = 0
        async for event in self._histories.published():
            await self._bus.publish(to_cloudevent(PendingEvent(event)))
            count += 1
        await self._histories.set_told_to(made)
        if count:
            log.warning("republished", events=count, stream=JOBS.name)
        return count
