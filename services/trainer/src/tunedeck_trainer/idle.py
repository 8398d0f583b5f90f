"""What an idle trainer tells: its host's hardware, under its own id with fence 0."""

import asyncio

import structlog

from tunedeck_chassis.bus import Bus
from tunedeck_contracts.errors import TunedeckError
from tunedeck_contracts.subjects import TrainingKind
from tunedeck_contracts.training import ResourcesRecorded
from tunedeck_trainer.delivery import training_event
from tunedeck_trainer.hardware import Hardware
from tunedeck_trainer.journal import Journal
from tunedeck_trainer.runner import Runner

log = structlog.get_logger()


class IdleReporter:
    """Samples while no run does; a sample that cannot be sent is dropped, the next one comes soon."""

    def __init__(
        self, bus: Bus, hardware: Hardware, journal: Journal, runner: Runner, trainer_id: str, seconds: float
    ) -> None:
        self._bus = bus
        self._hardware = hardware
        self._journal = journal
        self._runner = runner
        self._trainer_id = trainer_id
        self._seconds = seconds

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            if not self._runner.busy:
                await self._publish()
            await asyncio.sleep(self._seconds)

    async def _publish(self) -> None:
        try:
            number = self._journal.next_idle_sample()
        except OSError as error:
            log.warning("idle_sample_dropped", error=str(error))
            return
        recorded = ResourcesRecorded(
            job_id=self._trainer_id, fence=0, number=number, sample=self._hardware.sample(0)
        )
        event = training_event(
            TrainingKind.RESOURCES,
            self._trainer_id,
            0,
            number,
            recorded.to_json(),
            source=f"/trainer/{self._trainer_id}",
        )
        try:
            await self._bus.publish(event)
        except TunedeckError as error:
            log.warning("idle_sample_dropped", error=error.detail)
