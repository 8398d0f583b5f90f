"""The child of one run from its start to its end, whatever that is."""

import asyncio
import shutil
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import structlog

from tunedeck_contracts.checkpoints import Checkpoint
from tunedeck_contracts.errors import Conflict
from tunedeck_contracts.failures import Failure, FailureCode
from tunedeck_contracts.jobs import Phase, Result, Wanted
from tunedeck_contracts.runs import Outcome, Run
from tunedeck_trainer import checkpoint_store, failures, rows
from tunedeck_trainer.checkpoint_files import TornCheckpoint
from tunedeck_trainer.checkpoint_store import CheckpointStore
from tunedeck_trainer.failures import RunFailed
from tunedeck_trainer.memory import MemoryWatch
from tunedeck_trainer.pipe import (
    CheckpointRefused,
    CheckpointWritten,
    Failed,
    Finished,
    FromChild,
    PhaseChanged,
    PointMade,
    Resumed,
    RunProbed,
    Spec,
    Stopped,
)
from tunedeck_trainer.process import TrainingProcess
from tunedeck_trainer.surroundings import Surroundings
from tunedeck_trainer.telling import Telling

log = structlog.get_logger()

_SETTLE_POLL = 0.05
_LAST_WORDS = 10

Done = TypeVar("Done")


class CalledOff(Exception):
    """What was under way before the training began, or after it, is not wanted any more."""


@dataclass(frozen=True)
class Ended:
    """How it ended."""

    outcome: Outcome
    failure: Failure | None = None
    result: Result | None = None


class Training:
    """Starts the child at the newest checkpoint that can be used, and hands on what is wanted of it.

    `beat_now` is set when the next beat has to tell something at once.
    """

    def __init__(
        self,
        run: Run,
        around: Surroundings,
        folder: Path,
        telling: Telling,
        checkpoints: CheckpointStore,
        beat_now: asyncio.Event,
    ) -> None:
        self._run = run
        self._around = around
        self._settings = around.settings
        self._folder = folder
        self._telling = telling
        self._checkpoints = checkpoints
        self._beat_now = beat_now
        self._process: TrainingProcess | None = None
        self._memory: MemoryWatch | None = None
        self._end: Finished | Failed | Stopped | CheckpointRefused | None = None
        self._wanted = Wanted.RUN
        self._cancelled_at: float | None = None
        self._called_off = asyncio.Event()
        self._cancelled = asyncio.Event()
        self._is_stopping = False

    async def to_the_end(self) -> Ended:
        """Train; what the child has written of its state is registered before this returns."""
        try:
            rows_file = self._folder / "rows.jsonl"
            download = rows.download(self._run.dataset, self._around.blobs, rows_file)
            await self._unless(self._called_off, download)
            await self._unless(self._called_off, self._check_weights())
            ended = await self._trained(rows_file)
        except CalledOff:
            ended = Ended(self._outcome_wanted())
        except RunFailed as error:
            self._telling.line("error", str(error))
            return Ended(Outcome.FAILED, failure=failures.of_exception(error))
        if ended.outcome is Outcome.PAUSED and not await self._settled(None):
            return Ended(Outcome.CANCELLED)
        if ended.outcome in (Outcome.LOST, Outcome.FAILED):
            await self._settled(self._settings.drain_seconds)
        return ended

    async def unless_cancelled(self, work: Coroutine[Any, Any, Done]) -> Done:
        """Do what comes after training, which may take long, or raise CalledOff at a cancel."""
        return await self._unless(self._cancelled, work)

    async def heed(self, wanted: Wanted) -> None:
        """Pass on what a person wants; the child heeds it at its next step boundary."""
        if self._is_stopping and wanted is Wanted.RUN:
            wanted = Wanted.PAUSE
        if wanted is self._wanted or self._wanted is Wanted.CANCEL:
            return
        self._wanted = wanted
        if wanted is Wanted.RUN:
            self._called_off.clear()
        else:
            self._called_off.set()
        if wanted is Wanted.CANCEL:
            self._cancelled_at = time.monotonic()
            self._cancelled.set()
            self._telling.is_called_off = True
        if self._process is not None:
            await self._process.command(wanted)

    async def stop(self) -> None:
        """The service stops: leave the run where another trainer can go on, unless it is cancelled."""
        self._is_stopping = True
        await self.heed(Wanted.PAUSE)

    def look(self) -> None:
        """Note the child's memory, and end it if it has not heeded a cancel for too long."""
        if self._memory is not None:
            self._memory.look()
        if self._process is None or self._cancelled_at is None:
            return
        if time.monotonic() - self._cancelled_at > self._settings.kill_seconds:
            self._process.kill()

    async def killed(self) -> None:
        """End the child, if there is one."""
        if self._process is not None:
            await self._process.killed()

    async def _check_weights(self) -> None:
        try:
            await self._around.weights.check(self._run.model)
        except Conflict as error:
            raise RunFailed(FailureCode.MODEL_NOT_FOUND, error.detail) from error

    async def _trained(self, rows_file: Path) -> Ended:
        for checkpoint in (*self._run.checkpoints, None):
            try:
                resume = await self._unless(self._called_off, self._fetched(checkpoint))
            except TornCheckpoint as error:
                self._tell_refused(checkpoint, str(error))
                continue
            ended = await self._ended(rows_file, checkpoint, resume)
            if ended is not None:
                return ended
        raise AssertionError("A run that begins at its start refuses no checkpoint.")

    async def _unless(self, told: asyncio.Event, work: Coroutine[Any, Any, Done]) -> Done:
        """What the work gives; it may wait for a store that is away, and a person is not to wait with it."""
        tasks = asyncio.create_task(work), asyncio.create_task(told.wait())
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if told.is_set():
                raise CalledOff
            return tasks[0].result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _outcome_wanted(self) -> Outcome:
        return Outcome.CANCELLED if self._wanted is Wanted.CANCEL else Outcome.PAUSED

    async def _fetched(self, checkpoint: Checkpoint | None) -> Path | None:
        if checkpoint is None:
            self._telling.resume_iteration = 0
            return None
        folder = self._folder / "resume"
        shutil.rmtree(folder, ignore_errors=True)
        await checkpoint_store.fetch(checkpoint, self._around.blobs, self._folder.parent, folder)
        return folder

    def _tell_refused(self, checkpoint: Checkpoint | None, reason: str) -> None:
        step = checkpoint.step if checkpoint is not None else 0
        log.warning("checkpoint_refused", job=self._run.job_uid, step=step, reason=reason)
        self._telling.line("warning", f"The checkpoint after step {step} is not used. {reason}")

    async def _ended(
        self, rows_file: Path, checkpoint: Checkpoint | None, resume: Path | None
    ) -> Ended | None:
        """How the child ended; None when it refused the checkpoint."""
        status = await self._listened(rows_file, checkpoint, resume)
        match self._end:
            case CheckpointRefused(reason=reason):
                self._tell_refused(checkpoint, reason)
                return None
            case Failed(failure=failure):
                return Ended(failures.outcome_of(failure), failure=failure)
            case Stopped(wanted=wanted):
                return Ended(Outcome.CANCELLED if wanted is Wanted.CANCEL else Outcome.PAUSED)
            case Finished(result=result):
                return Ended(Outcome.COMPLETED, result=result)
        if self._cancelled_at is not None:
            return Ended(Outcome.CANCELLED)
        for_memory = self._memory is not None and self._memory.explains(status)
        words = [line.text for line in self._telling.last_lines][-_LAST_WORDS:]
        found = failures.of_exit(status, for_memory, words)
        return Ended(Outcome.LOST if found is None else Outcome.FAILED, failure=found)

    async def _listened(self, rows_file: Path, checkpoint: Checkpoint | None, resume: Path | None) -> int:
        devices = self._around.devices_for(self._run.device)
        spec = Spec(
            run=self._run,
            models_dir=self._settings.models_dir.resolve(),
            rows_file=rows_file,
            device=devices[0],
            devices=list(devices),
            threads=self._settings.torch_threads,
            resume=resume,
            checkpoint_seconds=self._settings.checkpoint_seconds,
        )
        self._end = None
        self._process = await TrainingProcess.start(self._folder, spec)
        self._memory = MemoryWatch(self._process.pid, is_launcher=len(devices) > 1)
        if self._wanted is not Wanted.RUN:
            await self._process.command(self._wanted)

        async def on_message(message: FromChild) -> None:
            match message:
                case PhaseChanged(phase=phase):
                    self._telling.phase = phase
                case PointMade():
                    await self._telling.point(message)
                case RunProbed(probed=probed):
                    self._telling.probed = probed
                    # Whoever goes on from a checkpoint that is registered after has to have the split.
                    self._beat_now.set()
                case CheckpointWritten():
                    self._checkpoints.written(message)
                case Resumed():
                    # Of another job's checkpoint nothing was told under this one's name.
                    own = checkpoint is not None and checkpoint.fence > 0
                    self._telling.resume_iteration = checkpoint.iteration if checkpoint and own else 0
                case _:
                    self._end = message

        return await self._process.listen(on_message, self._telling.line)

    async def _settled(self, seconds: float | None) -> bool:
        """Wait for the newest checkpoint to be registered, so long at most; False when a cancel is wanted."""
        self._telling.phase = Phase.FINALIZING
        deadline = None if seconds is None else time.monotonic() + seconds
        while not self._checkpoints.is_settled and (deadline is None or time.monotonic() < deadline):
            if self._wanted is Wanted.CANCEL:
                return False
            await asyncio.sleep(_SETTLE_POLL)
        return True
