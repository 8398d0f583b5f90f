"""Takes jobs back from trainers that were not heard of for a whole lease.

A lease can run out only while beats could arrive: the sweep rests while this
process has no NATS or no MongoDB, or stands still, as on a laptop that sleeps,
and for one lease after, so that an outage fences nobody out.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from tunedeck_jobs.queue import Queue
from tunedeck_jobs.relay import Relay
from tunedeck_jobs.repository.jobs import JobRepository
from tunedeck_jobs.settings import JobsSettings

log = structlog.get_logger()

Contact = Callable[[], Awaitable[int | None]]
"""The number of the present contact with NATS and MongoDB (it grows at each reconnect); None without one."""


class Sweep:
    """The comparison of leases is MongoDB's."""

    def __init__(
        self, repository: JobRepository, queue: Queue, relay: Relay, settings: JobsSettings, contact: Contact
    ) -> None:
        self._repository = repository
        self._queue = queue
        self._relay = relay
        self._settings = settings
        self._contact = contact
        self._known_contact: int | None = None
        self._rest_until = 0.0
        self._looked_at = time.time()

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                await self.sweep()
                await self.end_overdue()
            except Exception as error:
                self._known_contact = None
                log.warning("sweep_rests", error=repr(error))
            await asyncio.sleep(self._settings.lease_sweep_seconds)

    async def sweep(self) -> int:
        """Take back every job whose lease ran out; return how many. Resting, it takes none."""
        if not await self._may_sweep():
            return 0
        taken = 0
        for record in await self._repository.expired():
            if await self._queue.lose(record) is not None:
                taken += 1
                log.warning("lease_ran_out", job=record.job.uid, fence=record.fence)
        if taken:
            self._relay.kick()
        return taken

    async def end_overdue(self) -> int:
        """Fail every job whose deadline is over; return how many. An outage moves no deadline: no rest."""
        ended = 0
        for record in await self._repository.overdue():
            if await self._queue.expire(record.job.uid) is not None:
                ended += 1
                log.warning("deadline_over", job=record.job.uid, status=record.job.status.value)
        return ended

    async def _may_sweep(self) -> bool:
        contact = await self._contact()
        if self._stood_still() or contact is None or contact != self._known_contact:
            self._known_contact = contact
            self._rest_until = time.monotonic() + self._settings.lease_seconds
            return False
        return time.monotonic() >= self._rest_until

    def _stood_still(self) -> bool:
        """Whether so much of a lease went by since the last look that beats may have found nobody here.

        By the clock of the wall: the monotonic one stands still in a machine that sleeps.
        """
        before, self._looked_at = self._looked_at, time.time()
        most = max(self._settings.lease_seconds / 2, 2 * self._settings.lease_sweep_seconds)
        return abs(self._looked_at - before) > most
