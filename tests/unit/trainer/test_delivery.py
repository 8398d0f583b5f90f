"""The end of a run waits for what it has told, and for nothing that comes after."""

import asyncio
from pathlib import Path
from typing import Any

from tunedeck_contracts import rpc
from tunedeck_contracts.subjects import TrainingKind
from tunedeck_contracts.telemetry import Stored
from tunedeck_trainer.delivery import Delivery
from tunedeck_trainer.spool import Spool


class BusOfABusyHost:
    """Stores what is published; each time it is asked how far, another sample has just been taken."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self.stored = 0

    async def publish(self, _: Any) -> None:
        self.stored += 1

    async def request(self, _: rpc.Rpc[Any, Any], __: Any) -> Stored:
        said = Stored(losses=0, resources=self.stored, logs=0)
        self._spool.add(TrainingKind.RESOURCES, self._spool.last(TrainingKind.RESOURCES) + 1, b"sample")
        return said


async def test_samples_that_go_on_do_not_hold_up_the_end(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", most_bytes=1_000_000)
    spool.add(TrainingKind.RESOURCES, 1, b"sample")
    bus: Any = BusOfABusyHost(spool)
    delivery = Delivery(spool, bus, job_uid="job_1_aaaa", fence=1, source="/trainer/trainer_1")
    running = asyncio.create_task(delivery.run())
    delivery.wake()
    try:
        assert await delivery.drained(10)
        assert not spool.is_empty()
    finally:
        running.cancel()
        spool.close()
