"""Sends completed jobs' files to the Hub: asks for work now and then, beside what is trained.

The files come from the blob store, so that any trainer can send them, whichever has trained the job.
"""

import asyncio
import hashlib
import shutil
from pathlib import Path

import structlog
from pymongo.errors import PyMongoError

from tunedeck_contracts import rpc
from tunedeck_contracts.errors import NotFound, TunedeckError
from tunedeck_contracts.model_saving import (
    ClaimPush,
    HubPush,
    PushProblem,
    PushState,
    PushWork,
    ReportPush,
    StoredArtifact,
)
from tunedeck_trainer.hub_upload import Upload, failed
from tunedeck_trainer.process import hub_token, is_sendable
from tunedeck_trainer.side_process import SideProcesses
from tunedeck_trainer.surroundings import Surroundings

log = structlog.get_logger()

RETRY_SECONDS = 1.0
_UPLOAD = "tunedeck_trainer.hub_upload"
# The claim outlives the push: what is told of it at its end is still heard.
_SPARE_SECONDS = 60.0


def token_problem() -> str | None:
    """Why a push from here cannot succeed, as far as that is known before."""
    token = hub_token()
    if token and is_sendable(token):
        return None
    what = "trainer's HF_TOKEN has characters that no token has" if token else "trainer has no HF_TOKEN"
    return (
        f"pushToHub: this {what}, so the files cannot be sent to the Hub when training ends. "
        "Set it for the trainer; until then POST /api/jobs/{uid}/push sends them later."
    )


class HubPushes:
    """One at a time. A push that fails is told, and costs neither the job nor its files anything."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._seconds = around.settings.push_seconds
        self._folder = around.settings.work_dir.resolve() / "push"
        self._processes = SideProcesses()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            work = await self._claim()
            if work is None:
                await asyncio.sleep(self._around.settings.claim_seconds)
            else:
                await self._work(work)

    async def _claim(self) -> PushWork | None:
        claim = ClaimPush(worker=self._around.trainer_id, seconds=self._seconds + _SPARE_SECONDS)
        try:
            return (await self._around.bus.request(rpc.PUSH_CLAIM, claim)).work
        except TunedeckError as error:
            log.warning("push_claim_failed", error=error.detail)
            return None

    async def _work(self, work: PushWork) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        asked = Upload(
            folder=self._folder,
            repository=work.repository,
            public=work.public,
            summary=f"Tuned model of Tunedeck's job {work.job_uid}",
        )
        try:
            push = await self._pushed(asked, work.files)
        finally:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
        said = log.info if push.state is PushState.PUSHED else log.warning
        said("hub_push", job=work.job_uid, to=push.repository, state=push.state.value, why=push.detail)
        await self._report(ReportPush(job_uid=work.job_uid, claim=work.claim, push=push))

    async def _pushed(self, asked: Upload, files: list[StoredArtifact]) -> HubPush:
        try:
            async with asyncio.timeout(self._seconds):
                for file in files:
                    await self._fetch(file, self._folder / file.path)
                return await self._processes.ask(_UPLOAD, asked, HubPush)
        except TimeoutError:
            return failed(asked, PushProblem.TIMED_OUT, f"It was not done after {self._seconds:g} s.")
        except NotFound as error:
            return failed(asked, PushProblem.FILES_GONE, error.detail)
        except TunedeckError as error:
            return failed(asked, PushProblem.UNKNOWN, error.detail)
        except OSError as error:
            sentence = f"The trainer could not write the files that it was to send: {error}"
            return failed(asked, PushProblem.UNKNOWN, sentence)
        except Exception as error:
            # It would end the trainer, and the run that it has.
            log.error("hub_push_failed", to=asked.repository, exc_info=error)
            sentence = "The push failed for a reason of the trainer's own; its log has it."
            return failed(asked, PushProblem.UNKNOWN, sentence)

    async def _fetch(self, file: StoredArtifact, target: Path) -> None:
        """Write one file piece by piece; an outage of the store is waited out."""
        target.parent.mkdir(parents=True, exist_ok=True)
        while True:
            digest = hashlib.sha256()
            try:
                with target.open("wb") as opened:
                    async for piece in self._around.blobs.read(file.blob_id):
                        await asyncio.to_thread(opened.write, piece)
                        digest.update(piece)
            except PyMongoError as error:
                log.warning("push_file_unreachable", path=file.path, error=repr(error))
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if digest.hexdigest() != file.sha256:
                raise NotFound(f"The stored file {file.path!r} is not as it was reported.")
            return

    async def _report(self, report: ReportPush) -> None:
        while True:
            try:
                await self._around.bus.request(rpc.PUSH_REPORT, report)
                return
            except TunedeckError as error:
                log.warning("push_report_failed", job=report.job_uid, error=error.detail)
                await asyncio.sleep(RETRY_SECONDS)
