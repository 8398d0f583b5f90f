"""Estimates beside runs: on a GPU they give way."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.trainer.place import Place
from tunedeck_contracts import rpc
from tunedeck_contracts.errors import Unavailable
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.jobs import Device, Status
from tunedeck_contracts.plans import EstimateJob, Plan
from tunedeck_trainer.estimate_question import EstimateQuestion
from tunedeck_trainer.estimates import Estimates

ASKED = EstimateJob.model_validate(
    {"configuration": {"model": {"uid": "local/tiny"}, "dataset": {"uid": "dataset_1_a"}}}
)


class Measuring:
    """A process that measures for ever."""

    def __init__(self) -> None:
        self.has_room = False
        self.begun = asyncio.Event()
        self.is_gone = False
        self.devices: list[str] = []

    async def ask(self, module: str, question: EstimateQuestion, reply: object, device: str) -> Any:
        assert self.has_room
        self.devices = [question.device, device]
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.is_gone = True

    async def make_room(self) -> None:
        self.has_room = True


def estimates(place: Place, device: str, measuring: Any, wanted: Device | None = None) -> Estimates:
    run = place.run(Hyperparameters())
    plan = Plan(
        job_uid="",
        model=run.model,
        dataset=run.dataset,
        hyperparameters=run.hyperparameters,
        status=Status.CREATED,
        device=wanted,
    )

    async def request(asked: rpc.Rpc[Any, Any], message: Any) -> Any:
        assert (asked, message) == (rpc.PLAN_RESOLVE, ASKED)
        return plan

    place.bus.request = request  # type: ignore[method-assign]
    return Estimates(replace(place.around, device=device), measuring, measuring.make_room)


async def test_an_estimate_on_a_gpu_is_gone_before_a_run_begins_and_none_is_made_beside_it(
    place: Place,
) -> None:
    measuring = Measuring()
    asked = estimates(place, "cuda:0", measuring)
    answer = asyncio.create_task(asked.of_new_job(ASKED))
    await measuring.begun.wait()
    async with place.around.turn.training():
        assert measuring.is_gone
        with pytest.raises(Unavailable, match="has the GPU"):
            await answer
        with pytest.raises(Unavailable, match="has the GPU"):
            await asked.of_new_job(ASKED)


async def test_an_estimate_on_a_cpu_goes_on_beside_a_run(place: Place) -> None:
    measuring = Measuring()
    answer = asyncio.create_task(estimates(place, "cpu", measuring).of_new_job(ASKED))
    await measuring.begun.wait()
    async with place.around.turn.training():
        assert not measuring.is_gone
    answer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answer
    assert measuring.is_gone


async def test_an_estimate_is_made_on_the_device_that_the_job_asks_for(place: Place) -> None:
    measuring = Measuring()
    place.around = replace(place.around, devices=("cuda:0", "cpu"))
    asked = estimates(place, "cuda:0", measuring, Device.CPU)
    answer = asyncio.create_task(asked.of_new_job(ASKED))
    await measuring.begun.wait()
    assert measuring.devices == ["cpu", "cpu"]
    async with place.around.turn.training():
        assert not measuring.is_gone, "a run on the GPU takes nothing from it"
    answer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answer


async def test_a_job_that_asks_for_a_gpu_gets_no_figures_of_a_cpu(place: Place) -> None:
    measuring = Measuring()
    with pytest.raises(Unavailable, match="the trainer that took the question has none"):
        await estimates(place, "cpu", measuring, Device.GPU).of_new_job(ASKED)
    assert not measuring.begun.is_set()
