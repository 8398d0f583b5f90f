"""From the spool to the bus, in order, until telemetry says that it has stored everything."""

import asyncio
import contextlib
import time

import structlog

from tunedeck_chassis.bus import Bus
from tunedeck_contracts import rpc, subjects
from tunedeck_contracts.cloudevents import Event
from tunedeck_contracts.errors import TunedeckError
from tunedeck_contracts.message import utc_now
from tunedeck_contracts.subjects import TrainingKind
from tunedeck_contracts.telemetry import GetStored
from tunedeck_trainer.spool import Spool, Spooled

log = structlog.get_logger()

BATCH = 200
ASK_SECONDS = 1.0
ASK_SECONDS_AT_END = 0.2
RETRY_SECONDS = 0.5
AGAIN_SECONDS = 5.0
LONGEST_AGAIN_SECONDS = 600.0

_TYPES = {
    TrainingKind.LOSS: "dev.tunedeck.training.loss-recorded.v1",
    TrainingKind.RESOURCES: "dev.tunedeck.training.resources-recorded.v1",
    TrainingKind.LOG: "dev.tunedeck.training.log-recorded.v1",
}


def training_event(
    kind: TrainingKind, owner: str, fence: int, number: int, data: bytes, *, source: str, round: int = 0
) -> Event:
    """The event of one point. Its id absorbs a repetition; a later `round` has an id of its own."""
    again = f":{round}" if round else ""
    return Event(
        subject=subjects.training_event(kind, owner),
        id=f"{owner}:{fence}:{kind.value}:{number}{again}",
        type=_TYPES[kind],
        source=source,
        about=owner,
        data=data,
        time=utc_now(),
    )


class Headway:
    """How telemetry gets on with the points of one kind: what the stream has lost of it holds up the rest."""

    def __init__(self, spool: Spool, kind: TrainingKind) -> None:
        self._spool = spool
        self._kind = kind
        self._first: int | None = None
        self._since = time.monotonic()
        self._patience = AGAIN_SECONDS

    def made(self) -> None:
        """Count from now on."""
        self._since = time.monotonic()

    def is_lost(self, published: int) -> bool:
        """Whether the first point that waits was published, up to this place, and waits for too long."""
        first = self._spool.first(self._kind)
        if first != self._first:
            self._first, self._patience = first, AGAIN_SECONDS
            self.made()
        elif first is None or first > published:
            self.made()
        if time.monotonic() - self._since <= self._patience:
            return False
        self._patience = min(2 * self._patience, LONGEST_AGAIN_SECONDS)
        self.made()
        return True


class Delivery:
    """Publishes the points of one run and frees what telemetry has stored."""

    def __init__(self, spool: Spool, bus: Bus, *, job_uid: str, fence: int, source: str) -> None:
        self._spool = spool
        self._bus = bus
        self._job_uid = job_uid
        self._fence = fence
        self._source = source
        self._place = 0
        self._round = 0
        self._ask_seconds = ASK_SECONDS
        self._headway = {kind: Headway(spool, kind) for kind in TrainingKind}
        self._added = asyncio.Event()
        self._ask_now = asyncio.Event()

    def wake(self) -> None:
        """Something was added to the spool."""
        self._added.set()

    async def run(self) -> None:
        """Publish and free until cancelled; outages of the bus and of telemetry are waited out."""
        await asyncio.gather(self._publish_all(), self._free_all())

    async def drained(self, seconds: float) -> bool:
        """Wait until everything that was told by now is stored, at most so long; whether it is.

        Not until nothing waits: samples of the hardware go on, and one may always be on its way.
        """
        self._ask_seconds = ASK_SECONDS_AT_END
        self._ask_now.set()
        deadline = time.monotonic() + seconds
        last = self._spool.newest()
        while not self._spool.is_stored(last):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.05)
        return True

    async def published(self) -> None:
        """Wait until the stream has everything that was told by now."""
        last = self._spool.newest()
        while self._place < last and not self._spool.is_stored(last):
            await asyncio.sleep(0.05)

    async def _publish_all(self) -> None:
        while True:
            self._added.clear()
            for point in self._spool.after(self._place, BATCH):
                if point.place <= self._place:
                    continue
                round = self._round
                await self._publish(point)
                if round != self._round:
                    # Meanwhile all that waits is to be published again.
                    break
                self._place = point.place
            if not self._spool.after(self._place, 1):
                await self._added.wait()

    async def _publish(self, point: Spooled) -> None:
        event = training_event(
            point.kind,
            self._job_uid,
            self._fence,
            point.number,
            point.data,
            source=self._source,
            round=self._round,
        )
        while True:
            try:
                return await self._bus.publish(event)
            except TunedeckError as error:
                log.warning("publish_failed", event_id=event.id, error=error.detail)
                await asyncio.sleep(RETRY_SECONDS)

    async def _free_all(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ask_now.wait(), self._ask_seconds)
            self._ask_now.clear()
            if not self._spool.is_empty():
                await self._free()

    async def _free(self) -> None:
        known = self._spool.freed()
        try:
            stored = await self._bus.request(
                rpc.STORED_GET, GetStored(job_id=self._job_uid, fence=self._fence, after=known)
            )
        except TunedeckError as error:
            log.warning("stored_unknown", job=self._job_uid, error=error.detail)
            self._begin_anew()
            return
        if stored != known:
            self._spool.free(stored)
            if self._spool.freed() == known:
                # The trainer's own disk is full: what waits may be stored.
                self._begin_anew()
                return
        # Each is to look, also behind one that says yes.
        lost = [kind for kind, headway in self._headway.items() if headway.is_lost(self._place)]
        if lost:
            self._publish_again()

    def _begin_anew(self) -> None:
        """Of what waits it is not known whether it is lost."""
        for headway in self._headway.values():
            headway.made()

    def is_all_published(self) -> bool:
        """Whether the stream has acknowledged every point of the spool."""
        return not self._spool.after(self._place, 1)

    def _publish_again(self) -> None:
        # A new round has new ids: to the stream an old one is a duplicate, even of a message that was parked.
        log.warning("publishing_again", job=self._job_uid, round=self._round + 1)
        self._place = 0
        self._round += 1
        self._added.set()
