"""Previews of jobs: what a run would read first, asked of a process beside training."""

import asyncio
import shutil

from tunedeck_contracts import rpc
from tunedeck_contracts.errors import Unavailable
from tunedeck_contracts.plans import GetPlan, Plan
from tunedeck_contracts.previews import JobPreview
from tunedeck_trainer.preview_question import PreviewQuestion
from tunedeck_trainer.side_process import SideProcesses
from tunedeck_trainer.side_rows import rows_beside
from tunedeck_trainer.surroundings import Surroundings

MODULE = "tunedeck_trainer.previewing"

_SECONDS = rpc.BESIDE_TRAINING - 5.0
"""Less than whoever asks waits, so that the reason still reaches them."""


class Previews:
    """One at a time, so that many that ask do not fill the disk with rows."""

    def __init__(self, around: Surroundings, processes: SideProcesses, seconds: float = _SECONDS) -> None:
        self._around = around
        self._processes = processes
        self._seconds = seconds
        self._turn = asyncio.Semaphore(1)
        self._folder = around.settings.work_dir.resolve() / "previews"
        # What a former process of this trainer was killed over.
        shutil.rmtree(self._folder, ignore_errors=True)

    async def of_job(self, uid: str) -> JobPreview:
        """What a run of the job from its start reads first.

        Raises:
            NotFound: no such job.
            Conflict: its model or dataset is not known, or cannot be trained as it is.
            Unavailable: the jobs service, the rows or the Hub cannot be reached, or it took too long.
        """
        plan: Plan | None = None
        try:
            async with asyncio.timeout(self._seconds):
                plan = await self._around.bus.request(rpc.PLAN_GET, GetPlan(uid=uid))
                async with self._turn:
                    return await self._of(plan)
        except TimeoutError:
            rows_of = f"all {plan.dataset.rows} rows of its dataset" if plan is not None else "its rows"
            raise Unavailable(
                f"The first batch of job {uid!r} was not ready within {self._seconds:g} s: the model's "
                f"tokenizer has to be there, and {rows_of} as tokens. Ask again when it has less to do."
            ) from None

    async def _of(self, plan: Plan) -> JobPreview:
        async with rows_beside(plan.dataset, self._around.blobs, self._folder) as rows_file:
            question = PreviewQuestion(
                plan=plan,
                models_dir=self._around.settings.models_dir.resolve(),
                rows_file=rows_file,
                processes=len(self._around.devices_for(plan.device)),
            )
            return await self._processes.ask(MODULE, question, JobPreview)
