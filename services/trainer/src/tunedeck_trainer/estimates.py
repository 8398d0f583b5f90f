"""Estimates of jobs that are not there yet, asked of a process beside training."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from functools import partial

from tunedeck_contracts import rpc
from tunedeck_contracts.errors import Unavailable
from tunedeck_contracts.estimates import Estimate
from tunedeck_contracts.jobs import Device
from tunedeck_contracts.plans import EstimateJob, Plan
from tunedeck_trainer.estimate_question import EstimateQuestion
from tunedeck_trainer.side_process import SideProcesses
from tunedeck_trainer.side_rows import rows_beside
from tunedeck_trainer.surroundings import Surroundings

MODULE = "tunedeck_trainer.estimating"

_SECONDS = rpc.BESIDE_TRAINING - 5.0
"""Less than whoever asks waits, so that the reason still reaches them."""


class Estimates:
    """One at a time, so that many that ask do not fill the disk with rows.

    On a GPU there is none while a run trains, and one that is made ends when a run begins: the run needs the
    memory. On a CPU the machine ends an estimate's process before any other when memory is short. `make_room`
    frees what a run would find free.
    """

    def __init__(
        self,
        around: Surroundings,
        processes: SideProcesses,
        make_room: Callable[[], Awaitable[None]],
        seconds: float = _SECONDS,
    ) -> None:
        self._around = around
        self._processes = processes
        self._make_room = make_room
        self._seconds = seconds
        self._turn = asyncio.Semaphore(1)
        self._folder = around.settings.work_dir.resolve() / "estimates"
        # What a former process of this trainer was killed over.
        shutil.rmtree(self._folder, ignore_errors=True)
        self._measuring: asyncio.Task[Estimate] | None = None
        around.turn.before_training(self._give_way)

    async def of_new_job(self, asked: EstimateJob) -> Estimate:
        """What such a job would take on this trainer.

        Raises:
            ValidationFailed: a hyperparameter is out of bounds.
            Conflict: its model or dataset is not known, or cannot be trained as it is.
            Unavailable: the jobs service, the rows or the Hub cannot be reached, or it took too long;
                or a run has the GPU.
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
        devices = around.devices_for(plan.device)
        if plan.device is Device.GPU and devices[0] == "cpu":
            is_qlora = plan.hyperparameters.method == "qlora"
            remedy = "choose the method 'lora'" if is_qlora else "leave `device` out"
            raise Unavailable(
                "Such a job waits for a GPU, and the trainer that took the question has none. Where another "
                f"one has, ask again; else {remedy} for the figures of a CPU."
            )
        async with rows_beside(plan.dataset, around.blobs, self._folder) as rows_file:
            question = EstimateQuestion(
                plan=plan,
                models_dir=around.settings.models_dir.resolve(),
                rows_file=rows_file,
                device=devices[0],
                threads=around.settings.torch_threads,
                processes=len(devices),
            )
            return await self._measured(question)

    async def _measured(self, question: EstimateQuestion) -> Estimate:
        # A run would find that memory free.
        await self._make_room()
        ask = partial(self._processes.ask, MODULE, question, Estimate, question.device)
        if question.device == "cpu":
            return await ask()
        if self._around.turn.is_training:
            raise _no_gpu()
        self._measuring = asking = asyncio.create_task(ask())
        try:
            return await asking
        except asyncio.CancelledError:
            if self._measuring is asking:
                raise
            raise _no_gpu() from None
        finally:
            self._measuring = None

    async def _give_way(self) -> None:
        """A run begins: on a GPU the process that measures is gone before it does."""
        if (asking := self._measuring) is not None:
            self._measuring = None
            asking.cancel()
            await asyncio.wait([asking])


def _no_gpu() -> Unavailable:
    return Unavailable(
        "A training run has the GPU, and an estimate measures on it; ask again when the run is over."
    )
