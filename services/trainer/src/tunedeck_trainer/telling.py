"""What one run tells: its points, samples and log lines, numbered and spooled, and how far it is."""

import asyncio
from collections import deque
from dataclasses import dataclass, field

from tunedeck_contracts.estimates import Probed
from tunedeck_contracts.jobs import LOG_LINES_KEPT, Phase
from tunedeck_contracts.message import utc_now
from tunedeck_contracts.runs import Beat, Run
from tunedeck_contracts.subjects import TrainingKind
from tunedeck_contracts.training import LogLine, LogRecorded, LossPoint, LossRecorded, ResourcesRecorded
from tunedeck_trainer.delivery import Delivery
from tunedeck_trainer.hardware import Hardware
from tunedeck_trainer.pipe import PointMade
from tunedeck_trainer.spool import Spool

_FULL_WAIT = 0.2


@dataclass
class Telling:
    """Everything that leaves a run, apart from its report."""

    run: Run
    spool: Spool
    delivery: Delivery
    hardware: Hardware
    phase: Phase = Phase.PREPARING
    newest: LossPoint | None = None
    total_steps: int = 0
    total_epochs: int = 0
    resume_iteration: int | None = None
    probed: Probed | None = None
    last_lines: deque[LogLine] = field(default_factory=lambda: deque(maxlen=LOG_LINES_KEPT))
    is_called_off: bool = False
    _is_cut: bool = field(default=False, init=False)
    _kept_line: LogLine | None = field(default=None, init=False)

    @property
    def last_iteration(self) -> int:
        """Of the newest point; 0 before the first."""
        return self.newest.iteration if self.newest is not None else 0

    def beat(self) -> Beat:
        """How far the run is."""
        return Beat(
            job_uid=self.run.job_uid,
            fence=self.run.fence,
            phase=self.phase,
            step=self.newest.step if self.newest is not None else 0,
            total_steps=self.total_steps,
            epoch=self.newest.epoch if self.newest is not None else 0,
            total_epochs=self.total_epochs,
            point=self.newest,
            resume_iteration=self.resume_iteration,
            probed=self.probed,
            log=list(self.last_lines) if self._newest_line != self._kept_line else [],
        )

    def kept(self, beat: Beat) -> None:
        """The beat was answered: the lines in it need not be told again."""
        self._kept_line = beat.log[-1] if beat.log else self._kept_line

    @property
    def _newest_line(self) -> LogLine | None:
        return self.last_lines[-1] if self.last_lines else None

    async def point(self, made: PointMade) -> None:
        """Spool a loss point; while the spool is full, wait, which in the end stops the child.

        Of a run that was called off nobody waits: what finds no room is dropped, and all that follows.
        """
        if self._is_cut:
            return
        self.total_steps, self.total_epochs = made.total_steps, made.total_epochs
        recorded = LossRecorded(
            job_id=self.run.job_uid,
            fence=self.run.fence,
            training_mode=self.run.training_mode,
            total=made.total_steps,
            total_steps=made.total_steps,
            total_epochs=made.total_epochs,
            point=made.point,
        )
        data = recorded.to_json()
        while True:
            if self.spool.add(TrainingKind.LOSS, made.point.iteration, data):
                break
            if self.is_called_off:
                # A later one would leave a hole that telemetry waits for.
                self._is_cut = True
                return
            await asyncio.sleep(_FULL_WAIT)
        self.newest = made.point
        self.delivery.wake()

    def sample(self) -> None:
        """Spool a sample of the hardware; left out while the spool is full."""
        number = self.spool.last(TrainingKind.RESOURCES) + 1
        recorded = ResourcesRecorded(
            job_id=self.run.job_uid,
            fence=self.run.fence,
            number=number,
            sample=self.hardware.sample(self.last_iteration),
        )
        self._add(TrainingKind.RESOURCES, number, recorded.to_json())

    def line(self, level: str, text: str) -> None:
        """Spool a log line; left out while the spool is full, but for the last ones of the report."""
        number = self.spool.last(TrainingKind.LOG) + 1
        line = LogLine(number=number, level=level, text=text, timestamp=utc_now())
        self.last_lines.append(line)
        recorded = LogRecorded(job_id=self.run.job_uid, fence=self.run.fence, line=line)
        self._add(TrainingKind.LOG, number, recorded.to_json())

    def _add(self, kind: TrainingKind, number: int, data: bytes) -> None:
        if self.spool.add(kind, number, data):
            self.delivery.wake()
