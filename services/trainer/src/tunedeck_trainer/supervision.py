"""One run from its claim to its report."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Coroutine
from functools import partial
from typing import Any

import structlog
from nats.aio.msg import Msg

from tunedeck_chassis.crash_points import reached
from tunedeck_contracts import rpc, subjects
from tunedeck_contracts.errors import Conflict, NotFound, TunedeckError
from tunedeck_contracts.jobs import Phase
from tunedeck_contracts.runs import Outcome, Report, Run
from tunedeck_trainer import artifacts, tuned_models, untold
from tunedeck_trainer.checkpoint_store import CheckpointStore
from tunedeck_trainer.delivery import Delivery
from tunedeck_trainer.hub_pushes import token_problem
from tunedeck_trainer.pipe import TUNED_FOLDER
from tunedeck_trainer.reporting import FencedOut, report
from tunedeck_trainer.room import Room
from tunedeck_trainer.spool import Spool
from tunedeck_trainer.surroundings import Surroundings
from tunedeck_trainer.telling import Telling
from tunedeck_trainer.training import CalledOff, Ended, Training

log = structlog.get_logger()

STOP_SECONDS = 12.0
"""For the checkpoint of a run whose service stops; with the last word, less than supervisord's 20 s."""

LAST_WORD_SECONDS = 5.0

STORED_SECONDS = 0.3
"""For telemetry to store what the stream has of a run that was cancelled or paused, or has failed."""


class Supervision:
    """Watches over one run. Beats that fail do not end it for a day: an answer that it is fenced out does."""

    def __init__(self, run: Run, around: Surroundings) -> None:
        self._run = run
        self._around = around
        self._settings = around.settings
        work = around.settings.work_dir.resolve()
        self._of_other_jobs = [one for one in work.glob("job_*/") if one.name != run.job_uid]
        self._of_job = work / run.job_uid
        self._folder = self._of_job / str(run.fence)
        self._beat_now = asyncio.Event()
        self._is_reporting = False
        self._is_reported = False
        self._is_stored = False
        self._broken: list[BaseException] = []

    async def supervise(self) -> None:
        """Train, tell and report.

        Raises:
            FencedOut: another fence owns the job; the child is dead.
            CancelledError: the service stops; the child is dead and the run reported as left.
        """
        await asyncio.to_thread(self._make_folder)
        spool = Spool(self._folder / "spool.db", self._settings.spool_bytes)
        delivery = Delivery(
            spool,
            self._around.bus,
            job_uid=self._run.job_uid,
            fence=self._run.fence,
            source=f"/trainer/{self._around.trainer_id}",
        )
        telling = Telling(self._run, spool, delivery, self._around.hardware)
        if self._run.model_saving.push_to_hub and (problem := token_problem()) is not None:
            telling.line("warning", problem)
        room = self._room_for("Checkpoints wait", telling)
        checkpoints = CheckpointStore(self._run, self._around, self._folder, room)
        training = Training(self._run, self._around, self._folder, telling, checkpoints, self._beat_now)
        try:
            async with self._beside(telling, training, checkpoints):
                await self._unless_stopped(self._work(telling, training, checkpoints), training)
        except asyncio.CancelledError:
            await training.killed()
            if not self._is_reported:
                await self._last_word(telling)
            raise
        finally:
            await training.killed()
            spool.close()
            if self._is_reported and not self._is_stored:
                work = self._settings.work_dir
                untold.keep(self._folder / "spool.db", work, self._run.job_uid, self._run.fence)
            await asyncio.to_thread(shutil.rmtree, self._of_job, ignore_errors=True)

    async def _work(self, telling: Telling, training: Training, checkpoints: CheckpointStore) -> None:
        ended = await training.to_the_end()
        try:
            message = await training.unless_cancelled(self._all_stored(telling, ended))
        except CalledOff:
            message = self._report(telling, Ended(Outcome.CANCELLED))
            await self._drain(telling.delivery, message.outcome)
        checkpoints.close()
        # From here the report's answer decides: a beat after it is refused as an ended job's.
        self._is_reporting = True
        await report(self._around.bus, message)
        self._is_reported = True
        await self._keep_tuned(message)

    async def _all_stored(self, telling: Telling, ended: Ended) -> Report:
        message = await self._ended(telling, ended)
        telling.phase = Phase.FINALIZING
        await self._drain(telling.delivery, message.outcome)
        return message

    async def _unless_stopped(self, work: Coroutine[Any, Any, None], training: Training) -> None:
        """Do the work; when the service stops, the run gets a moment to write and report a checkpoint."""
        task = asyncio.create_task(work)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if not self._broken:
                await training.stop()
                await asyncio.wait([task], timeout=STOP_SECONDS)
            raise
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _make_folder(self) -> None:
        """A folder of its own. What former runs of the job have left stays until the end, for their
        checkpoints; what other jobs have left, in a process that was killed, goes."""
        for left in self._of_other_jobs:
            shutil.rmtree(left, ignore_errors=True)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)

    async def _drain(self, delivery: Delivery, outcome: Outcome) -> None:
        if outcome is not Outcome.COMPLETED:
            # Somebody waits for it to end. What is not stored by then is told on beside the next run.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(delivery.published(), self._settings.drain_seconds)
            self._is_stored = await delivery.drained(STORED_SECONDS)
            return
        while not await delivery.drained(self._settings.drain_seconds):
            log.warning("points_not_stored", job=self._run.job_uid, fence=self._run.fence)
            if delivery.is_all_published():
                # They are told on beside the next run, until telemetry is back.
                return
        self._is_stored = True

    @contextlib.asynccontextmanager
    async def _beside(
        self, telling: Telling, training: Training, checkpoints: CheckpointStore
    ) -> AsyncIterator[None]:
        """Beats, samples and delivery go on beside the body; one that breaks, or is fenced out, ends it."""
        body = asyncio.current_task()
        assert body is not None

        def end_body(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                # Once: what is cancelled twice does not come out as what broke.
                if not self._broken:
                    body.cancel()
                self._broken.append(error)

        telling.sample()
        # An event of the job is only a hint to ask at once: a lost one costs the wait for the next beat.
        hints = await self._around.bus.subscribe(subjects.job_event(self._run.job_uid), self._on_job_event)
        works = (
            self._beat(telling, training),
            self._sample(telling, training),
            telling.delivery.run(),
            checkpoints.run(),
            checkpoints.prune(),
        )
        tasks = [asyncio.create_task(work) for work in works]
        for task in tasks:
            task.add_done_callback(end_body)
        try:
            yield
        except asyncio.CancelledError:
            if self._broken and body.uncancel() == 0:
                raise self._broken[0] from None
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

    async def _beat(self, telling: Telling, training: Training) -> None:
        answered = time.monotonic()
        while True:
            sent = time.monotonic()
            # What is to be told at once while this beat is under way takes another.
            self._beat_now.clear()
            try:
                beat = telling.beat()
                reply = await self._around.bus.request(rpc.JOB_BEAT, beat)
                telling.kept(beat)
                answered = time.monotonic()
                await training.heed(reply.wanted)
            except (Conflict, NotFound) as error:
                if self._is_reporting:
                    return
                raise FencedOut(error.detail) from error
            except TunedeckError as error:
                log.warning("beat_failed", job=self._run.job_uid, error=error.detail)
                if time.monotonic() - answered > self._settings.contactless_seconds:
                    raise FencedOut(
                        f"Nobody answered a beat for {self._settings.contactless_seconds:g} s."
                    ) from error
            training.look()
            with contextlib.suppress(TimeoutError):
                rest = self._run.beat_seconds - (time.monotonic() - sent)
                await asyncio.wait_for(self._beat_now.wait(), max(0.0, rest))

    async def _sample(self, telling: Telling, training: Training) -> None:
        while True:
            await asyncio.sleep(self._settings.sample_seconds)
            telling.sample()
            training.look()

    async def _ended(self, telling: Telling, ended: Ended) -> Report:
        message = self._report(telling, ended)
        if ended.outcome is not Outcome.COMPLETED or not (self._folder / TUNED_FOLDER).is_dir():
            return message
        telling.phase = Phase.SAVING
        room = self._room_for("The tuned model waits", telling)
        stored = await artifacts.store(self._folder / TUNED_FOLDER, self._around.blobs, room)
        reached("trainer.artifacts_stored")
        return message.model_copy(update={"artifacts": stored})

    def _room_for(self, what: str, telling: Telling) -> Room:
        return Room(self._around.disk, partial(telling.line, "warning"), what)

    async def _keep_tuned(self, message: Report) -> None:
        tuned = self._folder / TUNED_FOLDER
        is_whole = self._run.stop_after_steps is None
        if message.outcome is Outcome.COMPLETED and is_whole and tuned.is_dir():
            try:
                place = await tuned_models.keep(tuned, self._settings.adapters_dir, self._run.job_uid)
            except OSError as error:
                # Its files are in the blob store: whoever asks the model has them fetched.
                log.warning("tuned_model_not_kept", job=self._run.job_uid, error=repr(error))
                return
            log.info("tuned_model_kept", job=self._run.job_uid, folder=str(place))

    async def _last_word(self, telling: Telling) -> None:
        """The service stops: give the job back at once, so that no lease has to run out.

        As a run that left, not as one that was lost: of those a job has only so many.
        """
        with contextlib.suppress(TimeoutError, FencedOut):
            async with asyncio.timeout(LAST_WORD_SECONDS):
                await report(self._around.bus, self._report(telling, Ended(Outcome.PAUSED)))

    def _report(self, telling: Telling, ended: Ended) -> Report:
        return Report(
            job_uid=self._run.job_uid,
            fence=self._run.fence,
            outcome=ended.outcome,
            last_iteration=telling.last_iteration,
            failure=ended.failure,
            result=ended.result,
            probed=telling.probed,
            log=list(telling.last_lines),
        )
