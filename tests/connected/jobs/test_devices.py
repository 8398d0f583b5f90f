"""A job of a model in 4 bits gets a GPU, waits for one that it asked for, or is refused with the reason."""

from datetime import timedelta
from typing import Any

import pytest

from tests.support.jobs_service import Service, body, claim, report
from tunedeck_contracts.errors import Conflict, ValidationFailed
from tunedeck_contracts.job_changes import RetryJob
from tunedeck_contracts.jobs import Device, Job, Status
from tunedeck_contracts.message import utc_now
from tunedeck_contracts.plans import EstimateJob
from tunedeck_contracts.runs import Outcome

NO_GPU_KNOWN = r'no trainer that was heard of today has one; .* send "device": "gpu"'


def of_method(method: str) -> dict[str, Any]:
    return {"configuration": {**body()["configuration"], "hyperparameters": {"method": method}}}


async def made(service: Service, method: str = "qlora", **more: object) -> Job:
    return (await service.create(**of_method(method), **more)).job


async def planned(service: Service, device: str | None = None) -> Device | None:
    asked = EstimateJob.model_validate({**of_method("qlora"), "device": device})
    return (await service.plans.of_new_job(asked)).device


async def test_where_no_trainer_has_a_gpu_it_is_refused_unless_it_asks_to_wait(service: Service) -> None:
    assert (await service.queue.claim(claim())).run is None
    for refused in (made(service), made(service, start=False), planned(service)):
        with pytest.raises(Conflict, match=NO_GPU_KNOWN):
            await refused
    assert not any((await service.lists.counts()).values()), "nothing is stored of it"
    job = await made(service, device="gpu")
    assert (job.status, job.device) == (Status.QUEUED, Device.GPU)
    assert (await planned(service, "gpu")) is Device.GPU
    assert (await made(service, "lora")).device is None
    assert (await made(service, "full", device="cpu")).device is Device.CPU


async def test_where_a_trainer_has_a_gpu_it_waits_for_that_one(service: Service) -> None:
    for worker, device in (("trainer_1", "cpu"), ("trainer_2", "cuda:0")):
        assert (await service.queue.claim(claim(worker, device))).run is None
    job = await made(service)
    assert (job.device, await planned(service)) == (Device.GPU, Device.GPU)
    assert (await service.queue.claim(claim())).run is None, "no CPU takes it"
    run = (await service.queue.claim(claim("trainer_2", "cuda:0"))).run
    assert run is not None and run.job_uid == job.uid
    trainers = service.client[service.settings.jobs_database]["trainers"]
    await trainers.delete_one({"_id": "trainer_2"})
    assert (await made(service)).device is Device.GPU, "a trainer that works is known"


async def test_a_trainer_with_a_gpu_that_ends_a_run_or_restarts_is_known(service: Service) -> None:
    for worker, device in (("trainer_1", "cpu"), ("trainer_2", "cuda:0")):
        assert (await service.queue.claim(claim(worker, device))).run is None
    trainers = service.client[service.settings.jobs_database]["trainers"]
    long_ago = {"$set": {"heard_at": utc_now() - timedelta(hours=1)}}
    await trainers.update_one({"_id": "trainer_2"}, long_ago)
    assert (await made(service)).device is Device.GPU


async def test_while_no_trainer_was_heard_of_nothing_is_refused(service: Service) -> None:
    job = await made(service)
    assert (job.status, job.device) == (Status.QUEUED, Device.GPU)


async def test_a_cpu_that_was_asked_for_is_a_wrong_field(service: Service) -> None:
    for refused in (made(service, device="cpu"), planned(service, "cpu")):
        with pytest.raises(
            ValidationFailed, match=r"device: the method 'qlora' .* needs a CUDA GPU"
        ) as wrong:
            await refused
        assert [one.loc for one in wrong.value.errors or []] == ["device"]


async def test_tried_again_it_waits_as_before(service: Service) -> None:
    job = await made(service)
    run = (await service.queue.claim(claim("trainer_2", "cuda:0"))).run
    assert run is not None
    await service.queue.report(report(job.uid, run.fence, Outcome.FAILED))
    await service.client[service.settings.jobs_database]["trainers"].delete_many({})
    assert (await service.queue.claim(claim())).run is None
    again = (await service.creation.retry(RetryJob(uid=job.uid))).job
    assert (again.status, again.device) == (Status.QUEUED, Device.GPU)
