"""Estimates of jobs that are not there yet, asked of a process beside training."""

import asyncio
import shutil

from tunedeck_contracts import rpc
from tunedeck_contracts.errors import Unavailable
from tunedeck_contracts.estimates import Estimate
from tunedeck_contracts.plans import EstimateJob, Plan
from tunedeck_trainer.estimate_question import EstimateQuestion
from tunedeck_trainer.side_process import SideProcesses
from tunedeck_trainer.side_rows import rows_beside
from tunedeck_trainer.surroundings import Surroundings

MODULE = "tunedeck_trainer.estimating"

_SECONDS = rpc.BESIDE_TRAINING - 5.0
"""Less than whoever asks waits, so that the reason still reaches them."""


class Estimates:
    """One at a time, so that many that ask do not fill the disk with rows."""

    def __init__(self, around: Surroundings, processes: SideProcesses, seconds: float = _SECONDS) -> None:
        self._around = around
        self._processes = processes
        self._seconds = seconds
        self._turn = asyncio.Semaphore(1)
        self._folder = around.settings.work_dir.resolve() / "estimates"
        # What a former process of this trainer was killed over.
        shutil.rmtree(self._folder, ignore_errors=True)

    async def of_new_job(self, asked: EstimateJob) -> Estimate:
        """What such a job would take on this trainer.

        Raises:
            ValidationFailed: a hyperparameter is out of bounds.
            Conflict: its model or dataset is not known, or cannot be trained as it is.
            Unavailable: the jobs service, the rows or the Hub cannot be reached, or it took too long.
        """
        try:
            async with asyncio.timeout(self._seconds):
                plan = await self._around.bus.request(rpc.PLAN_RESOLVE, asked)
                async with self._turn:
                    return await self._of(plan)
        except TimeoutError:
            raise Unavailable(
                f"There was no estimate within {self._seconds:g} s: all rows of the dataset are counted in "
                "tokens, and two layers of the model are trained for a step. Ask again when the trainer has "
                "less to do."
            ) from None

    async def _of(self, plan: Plan) -> Estimate:
        around = self._around
        async with rows_beside(plan.dataset, around.blobs, self._folder) as rows_file:
            question = EstimateQuestion(
                plan=plan,
                models_dir=around.settings.models_dir.resolve(),
                rows_file=rows_file,
                device=around.device,
                threads=around.settings.torch_threads,
                processes=len(around.devices_for(None)),
            )
            return await self._processes.ask(MODULE, question, Estimate, around.device)
