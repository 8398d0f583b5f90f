"""The end of a run waits for what it has told, and for nothing that comes after."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tunedeck_contracts import rpc
from tunedeck_contracts.subjects import TrainingKind
from tunedeck_contracts.telemetry import Stored
from tunedeck_trainer import delivery as delivery_module
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


class BusThatLosesALoss:
    """Stores what is published, the first loss once it has come again and some samples have got on.

    Asked, it has another sample come.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self.has: dict[TrainingKind, set[int]] = {kind: set() for kind in TrainingKind}
        self.times = 0

    async def publish(self, event: Any) -> None:
        # Something is always under way.
        await asyncio.sleep(0.02)
        kind, number = TrainingKind(event.id.split(":")[2]), int(event.id.split(":")[3])
        if (kind, number) == (TrainingKind.LOSS, 1):
            self.times += 1
        goes_on = len(self.has[TrainingKind.RESOURCES]) > 3
        if (kind, number) != (TrainingKind.LOSS, 1) or (goes_on and self.times > 1):
            self.has[kind].add(number)

    async def request(self, _: rpc.Rpc[Any, Any], __: Any) -> Stored:
        self._spool.add(TrainingKind.RESOURCES, self._spool.last(TrainingKind.RESOURCES) + 1, b"sample")
        return Stored(
            losses=self._without_a_gap(TrainingKind.LOSS),
            resources=self._without_a_gap(TrainingKind.RESOURCES),
            logs=self._without_a_gap(TrainingKind.LOG),
        )

    def _without_a_gap(self, kind: TrainingKind) -> int:
        last = 0
        while last + 1 in self.has[kind]:
            last += 1
        return last


async def test_a_lost_point_comes_again_though_those_of_another_kind_get_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_module, "AGAIN_SECONDS", 0.3)
    monkeypatch.setattr(delivery_module, "ASK_SECONDS", 0.02)
    spool = Spool(tmp_path / "spool.db", most_bytes=1_000_000)
    for number in (1, 2, 3):
        spool.add(TrainingKind.LOSS, number, b"loss")
    bus: Any = BusThatLosesALoss(spool)
    delivery = Delivery(spool, bus, job_uid="job_1_aaaa", fence=1, source="/trainer/trainer_1")

    async def more() -> None:
        while True:
            spool.add(TrainingKind.LOG, spool.last(TrainingKind.LOG) + 1, b"line")
            delivery.wake()
            await asyncio.sleep(0.01)

    running = [asyncio.create_task(delivery.run()), asyncio.create_task(more())]
    try:
        async with asyncio.timeout(10):
            while spool.first(TrainingKind.LOSS) is not None:
                await asyncio.sleep(0.02)
        assert bus.times >= 2
    finally:
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        spool.close()


async def test_what_a_full_disk_keeps_in_the_spool_is_not_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_module, "AGAIN_SECONDS", 0.1)
    monkeypatch.setattr(delivery_module, "ASK_SECONDS", 0.02)
    spool = Spool(tmp_path / "spool.db", most_bytes=1_000_000)
    spool.add(TrainingKind.RESOURCES, 1, b"sample")
    refused: list[Stored] = []
    monkeypatch.setattr(spool, "free", refused.append)
    bus: Any = BusOfABusyHost(spool)
    delivery = Delivery(spool, bus, job_uid="job_1_aaaa", fence=1, source="/trainer/trainer_1")
    running = asyncio.create_task(delivery.run())
    delivery.wake()
    async with asyncio.timeout(10):
        while len(refused) < 30:
            await asyncio.sleep(0.02)
    assert bus.stored == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    spool.close()
