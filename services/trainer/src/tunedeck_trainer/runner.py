"""Claims jobs, one after the other."""

import asyncio
import contextlib
import secrets
import shutil
import sqlite3

import structlog

from tunedeck_chassis.crash_points import reached
from tunedeck_contracts import rpc
from tunedeck_contracts.errors import TunedeckError
from tunedeck_contracts.failures import FailureCode
from tunedeck_contracts.runs import Claim, Outcome, Report, Run
from tunedeck_trainer import failures
from tunedeck_trainer.journal import Held, Journal
from tunedeck_trainer.reporting import FencedOut, report
from tunedeck_trainer.supervision import Supervision
from tunedeck_trainer.surroundings import Surroundings

log = structlog.get_logger()

RETRY_SECONDS = 0.5
LEAST_ROOM_BYTES = 64 * 2**20
"""On the disk of the work folder, for a run to be claimed."""


class Runner:
    """Asks for a job at start, when woken, after each run and every so often; trains what it gets."""

    def __init__(self, around: Surroundings, journal: Journal, devices: list[str]) -> None:
        self._around = around
        self._journal = journal
        self._devices = devices
        self._woken = asyncio.Event()
        self.busy = False

    def wake(self) -> None:
        """Some job was queued."""
        self._woken.set()

    async def run(self) -> None:
        """Work until cancelled."""
        await self._give_back()
        while True:
            self._woken.clear()
            run = await self._claim() if self._has_room() else None
            if run is not None:
                reached("trainer.claimed")
                await self._work(run)
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._around.settings.claim_seconds)

    def _has_room(self) -> bool:
        """Whether a run could begin: one that finds no room fails, and so would all that wait."""
        free = shutil.disk_usage(self._around.settings.work_dir).free
        if free < LEAST_ROOM_BYTES:
            log.warning("no_room_to_train", folder=str(self._around.settings.work_dir), free=free)
        return free >= LEAST_ROOM_BYTES

    async def _give_back(self) -> None:
        """Report the runs that a former process of this trainer left behind."""
        for held in self._journal.held:
            log.warning("giving_back", job=held.job_uid, fence=held.fence)
            with contextlib.suppress(FencedOut):
                lost = Report(job_uid=held.job_uid, fence=held.fence, outcome=Outcome.LOST)
                await report(self._around.bus, lost)
            self._let_go(held)

    async def _claim(self) -> Run | None:
        claim = Claim(worker=self._around.trainer_id, claim_id=secrets.token_hex(16), devices=self._devices)
        while True:
            try:
                return (await self._around.bus.request(rpc.JOB_CLAIM, claim)).run
            except TunedeckError as error:
                # The same claim again: the reply may be what was lost.
                log.warning("claim_failed", error=error.detail)
                await asyncio.sleep(RETRY_SECONDS)

    async def _work(self, run: Run) -> None:
        held = Held(job_uid=run.job_uid, fence=run.fence)
        log.info("run_started", job=run.job_uid, fence=run.fence, attempt=run.attempt)
        self.busy = True
        try:
            self._journal.hold(held)
            reached("trainer.run_noted")
            async with self._around.turn.training():
                await Supervision(run, self._around).supervise()
            log.info("run_ended", job=run.job_uid, fence=run.fence)
        except FencedOut as error:
            log.warning("fenced_out", job=run.job_uid, fence=run.fence, reason=str(error))
        except (OSError, sqlite3.OperationalError) as error:
            await self._report_full_disk(run, error)
        finally:
            self.busy = False
        reached("trainer.reported")
        self._let_go(held)

    async def _report_full_disk(self, run: Run, error: Exception) -> None:
        """A full disk ends the run, not the trainer, which would only start to meet it again."""
        failed = failures.of_exception(error)
        if failed.code is not FailureCode.DISK_FULL:
            raise error
        log.warning("disk_full", job=run.job_uid, fence=run.fence, error=str(error))
        message = Report(job_uid=run.job_uid, fence=run.fence, outcome=Outcome.FAILED, failure=failed)
        with contextlib.suppress(FencedOut):
            await report(self._around.bus, message)

    def _let_go(self, held: Held) -> None:
        try:
            self._journal.let_go(held)
        except OSError as error:
            # A restart would give the run back once more, and be told that it has ended.
            log.warning("journal_not_written", error=str(error))
