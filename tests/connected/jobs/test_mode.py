"""The training mode of new jobs."""

from tests.support.jobs_service import Service
from tunedeck_contracts import rpc
from tunedeck_contracts.jobs import TrainingMode
from tunedeck_contracts.training_mode import GetMode, SetMode
from tunedeck_jobs.creation import NO_SEARCH


async def test_new_jobs_have_the_mode_that_was_set_unless_they_say_another(service: Service) -> None:
    assert (await service.bus.request(rpc.MODE_GET, GetMode())).mode is TrainingMode.MANUAL
    first = await service.create()
    told = await service.bus.request(rpc.MODE_SET, SetMode(mode=TrainingMode.AUTOMATED))
    assert told.model_dump(mode="json") == {
        "message": "Training mode set to automated",
        "mode": "automated",
        "reset": True,
    }
    second, third = await service.create(), await service.create(trainingMode="manual")
    jobs = [await service.jobs.get(one.job_uid) for one in (first, second, third)]
    assert [job.training_mode.value for job in jobs] == ["manual", "automated", "manual"]
    assert [job.problems for job in jobs] == [[], [NO_SEARCH], []]
    assert [job.status for job in jobs] == ["queued"] * 3
