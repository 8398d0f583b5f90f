"""One run from its claim to its report."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import structlog
from nats.aio.msg import Msg
from pymongo.errors import PyMongoError

from tunedeck_chassis.blobs import BlobStore
from tunedeck_chassis.bus import Bus
from tunedeck_contracts import rpc, subjects
from tunedeck_contracts.errors import Conflict, NotFound, TunedeckError
from tunedeck_contracts.jobs import Failure, Phase, StoredArtifact, Wanted
from tunedeck_contracts.runs import Outcome, Report, Run
from tunedeck_trainer import artifacts, failures, rows
from tunedeck_trainer.delivery import Delivery
from tunedeck_trainer.failures import RunFailed
from tunedeck_trainer.hardware import Hardware
from tunedeck_trainer.pipe import TUNED_FOLDER, Failed, Finished, FromChild, PhaseChanged, PointMade, Spec
from tunedeck_trainer.process import TrainingProcess
from tunedeck_trainer.settings import TrainerSettings
from tunedeck_trainer.spool import Spool
from tunedeck_trainer.telling import Telling

log = structlog.get_logger()

RETRY_SECONDS = 1.0
LAST_WORD_SECONDS = 5.0


class FencedOut(Exception):
    """The run is someone else's now, or nobody's: nothing of it may be told any more."""


@dataclass(frozen=True)
class Surroundings:
    """What every run of this trainer uses."""

    settings: TrainerSettings
    trainer_id: str
    device: str
    bus: Bus
    blobs: BlobStore
    hardware: Hardware


async def report(bus: Bus, message: Report) -> None:
    """Report until it is stored.

    Raises:
        FencedOut: the run is not this trainer's any more.
    """
    while True:
        try:
            await bus.request(rpc.JOB_REPORT, message)
            return
        except (Conflict, NotFound) as error:
            raise FencedOut(error.detail) from error
        except TunedeckError as error:
            log.warning("report_failed", job=message.job_uid, error=error.detail)
            await asyncio.sleep(RETRY_SECONDS)


class Supervision:
    """Watches over one run. Beats that fail do not end it: an answer that it is fenced out does."""

    def __init__(self, run: Run, around: Surroundings) -> None:
        self._run = run
        self._around = around
        self._settings = around.settings
        self._folder = around.settings.work_dir.resolve() / run.job_uid / str(run.fence)
        self._process: TrainingProcess | None = None
        self._end: Finished | Failed | None = None
        self._wanted = Wanted.RUN
        self._cancelled_at: float | None = None
        self._beat_now = asyncio.Event()
        self._is_reporting = False

    async def supervise(self) -> None:
        """Train, tell and report.

        Raises:
            FencedOut: another fence owns the job; the child is dead.
            CancelledError: the service stops; the child is dead and the run reported as lost.
        """
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        spool = Spool(self._folder / "spool.db", self._settings.spool_bytes)
        delivery = Delivery(
            spool,
            self._around.bus,
            job_uid=self._run.job_uid,
            fence=self._run.fence,
            source=f"/trainer/{self._around.trainer_id}",
        )
        telling = Telling(self._run, spool, delivery, self._around.hardware)
        try:
            async with self._beside(telling):
                message = await self._outcome(telling)
                telling.phase = Phase.FINALIZING
                while not await delivery.drained(self._settings.drain_seconds):
                    log.warning("points_not_stored", job=self._run.job_uid, fence=self._run.fence)
                    if delivery.is_all_published():
                        # The stream has them for a day; telemetry stores them when it is back.
                        break
                # From here the report's answer decides: a beat after it is refused as an ended job's.
                self._is_reporting = True
                await report(self._around.bus, message)
            self._keep_tuned(message)
        except asyncio.CancelledError:
            await self._last_word(telling)
            raise
        finally:
            if self._process is not None:
                await self._process.killed()
            spool.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                self._folder.parent.rmdir()

    @contextlib.asynccontextmanager
    async def _beside(self, telling: Telling) -> AsyncIterator[None]:
        """Beats, samples and delivery go on beside the body; one that breaks, or is fenced out, ends it."""
        body = asyncio.current_task()
        assert body is not None
        broken: list[BaseException] = []

        def end_body(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                broken.append(error)
                body.cancel()

        telling.sample()
        # An event of the job is only a hint to ask at once: a lost one costs the wait for the next beat.
        hints = await self._around.bus.subscribe(subjects.job_event(self._run.job_uid), self._on_job_event)
        works = (self._beat(telling), self._sample(telling), telling.delivery.run())
        tasks = [asyncio.create_task(work) for work in works]
        for task in tasks:
            task.add_done_callback(end_body)
        try:
            yield
        except asyncio.CancelledError:
            if broken and body.uncancel() == 0:
                raise broken[0] from None
            raise
        finally:
            for task in tasks:
                task.remove_done_callback(end_body)
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(Exception):
                await hints.unsubscribe()

    async def _on_job_event(self, _: Msg) -> None:
        self._beat_now.set()

    async def _beat(self, telling: Telling) -> None:
        while True:
            sent = time.monotonic()
            try:
                reply = await self._around.bus.request(rpc.JOB_BEAT, telling.beat())
                await self._heed(reply.wanted)
            except (Conflict, NotFound) as error:
                if self._is_reporting:
                    return
                raise FencedOut(error.detail) from error
            except TunedeckError as error:
                log.warning("beat_failed", job=self._run.job_uid, error=error.detail)
            self._kill_when_overdue()
            self._beat_now.clear()
            with contextlib.suppress(TimeoutError):
                rest = self._run.beat_seconds - (time.monotonic() - sent)
                await asyncio.wait_for(self._beat_now.wait(), max(0.0, rest))

    async def _heed(self, wanted: Wanted) -> None:
        self._wanted = wanted
        if wanted is Wanted.CANCEL and self._process is not None and self._cancelled_at is None:
            self._cancelled_at = time.monotonic()
            await self._process.cancel()

    def _kill_when_overdue(self) -> None:
        if self._cancelled_at is None or self._process is None:
            return
        if time.monotonic() - self._cancelled_at > self._settings.kill_seconds:
            self._process.kill()

    async def _sample(self, telling: Telling) -> None:
        while True:
            await asyncio.sleep(self._settings.sample_seconds)
            telling.sample()

    async def _outcome(self, telling: Telling) -> Report:
        try:
            rows_file = self._folder / "rows.jsonl"
            await rows.download(self._run.dataset, self._around.blobs, rows_file)
            if self._wanted is Wanted.CANCEL:
                return self._report(telling, Outcome.CANCELLED)
            return await self._trained(telling, rows_file)
        except RunFailed as error:
            telling.line("error", str(error))
            return self._report(telling, Outcome.FAILED, failure=failures.of_exception(error))

    async def _trained(self, telling: Telling, rows_file: Path) -> Report:
        spec = Spec(
            run=self._run,
            models_dir=self._settings.models_dir.resolve(),
            rows_file=rows_file,
            device=self._around.device,
            threads=self._settings.torch_threads,
        )
        kills_before = failures.oom_kills()
        self._process = await TrainingProcess.start(self._folder, spec)

        async def on_message(message: FromChild) -> None:
            if isinstance(message, PhaseChanged):
                telling.phase = message.phase
            elif isinstance(message, PointMade):
                await telling.point(message)
            else:
                self._end = message

        status = await self._process.listen(on_message, telling.line)
        if isinstance(self._end, Failed):
            return self._report(telling, Outcome.FAILED, failure=self._end.failure)
        if isinstance(self._end, Finished):
            return await self._finished(telling, self._end)
        if self._cancelled_at is not None:
            return self._report(telling, Outcome.CANCELLED)
        for_memory = status == -9 and failures.oom_kills() > kills_before
        failure = failures.of_exit(status, for_memory, list(self._process.last_lines))
        outcome = Outcome.LOST if failure is None else Outcome.FAILED
        return self._report(telling, outcome, failure=failure)

    async def _finished(self, telling: Telling, end: Finished) -> Report:
        if end.result is None:
            return self._report(telling, Outcome.CANCELLED)
        telling.phase = Phase.SAVING
        stored = await self._stored_artifacts() if self._run.model_saving.save_model else []
        return self._report(telling, Outcome.COMPLETED).model_copy(
            update={"result": end.result, "artifacts": stored}
        )

    async def _stored_artifacts(self) -> list[StoredArtifact]:
        stored: list[StoredArtifact] = []
        while True:
            try:
                await artifacts.store(self._folder / TUNED_FOLDER, self._around.blobs, stored)
                return stored
            except PyMongoError as error:
                log.warning("artifacts_not_stored", job=self._run.job_uid, error=repr(error))
                await asyncio.sleep(RETRY_SECONDS)

    def _keep_tuned(self, message: Report) -> None:
        tuned = self._folder / TUNED_FOLDER
        if message.outcome is Outcome.COMPLETED and tuned.is_dir():
            place = artifacts.publish(tuned, self._settings.adapters_dir, self._run.job_uid)
            log.info("tuned_model_kept", job=self._run.job_uid, folder=str(place))

    async def _last_word(self, telling: Telling) -> None:
        """The service stops: give the job back at once, so that no lease has to run out."""
        if self._process is not None:
            await self._process.killed()
        with contextlib.suppress(TimeoutError, FencedOut):
            async with asyncio.timeout(LAST_WORD_SECONDS):
                await report(self._around.bus, self._report(telling, Outcome.LOST))

    def _report(self, telling: Telling, outcome: Outcome, failure: Failure | None = None) -> Report:
        return Report(
            job_uid=self._run.job_uid,
            fence=self._run.fence,
            outcome=outcome,
            last_iteration=telling.last_iteration,
            failure=failure,
        )
