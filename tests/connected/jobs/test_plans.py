"""What a job trains is told to a trainer, whatever the job's state."""

import pytest

from tests.support.jobs_service import DATASET, MODEL, NO_MODEL, Service, body, report
from tunedeck_contracts.errors import Conflict, NotFound, Unavailable
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_jobs.resolving import Resolution


async def test_a_job_of_any_state_has_a_plan(service: Service) -> None:
    chosen = {**body()["configuration"], "hyperparameters": {"batch_size": 2, "seed": 7}}
    waiting = (await service.create(start=False, configuration=chosen)).job_uid
    plan = await service.plans.of_job(waiting)
    assert (plan.job_uid, plan.model, plan.dataset) == (waiting, MODEL, DATASET)
    assert plan.hyperparameters == Hyperparameters(batch_size=2, seed=7)
    await service.steering.cancel(waiting)

    uid, fence = await service.running()
    later = MODEL.model_copy(update={"revision": "sha256:1"})
    service.resolver.answer = Resolution(later, DATASET)
    running = await service.plans.of_job(uid)
    await service.queue.report(report(uid, fence))
    for plan in (running, await service.plans.of_job(uid)):
        assert plan.model.revision == MODEL.revision, "a queued job keeps what it has pinned"
    assert (await service.plans.of_job(waiting)).model.revision == "sha256:1"


async def test_a_job_whose_model_is_not_known_is_refused_with_its_problems(service: Service) -> None:
    service.resolver.answer = NO_MODEL
    uid = (await service.create()).job_uid
    with pytest.raises(Conflict, match=r"model: There is no such model\.") as refused:
        await service.plans.of_job(uid)
    assert [one.message for one in refused.value.errors or []] == list(NO_MODEL.problems)
    service.resolver.answer = Resolution(None, None, ("model: The catalog is away.",), is_unavailable=True)
    with pytest.raises(Unavailable, match="The catalog is away"):
        await service.plans.of_job(uid)
    with pytest.raises(NotFound, match="job_1_none"):
        await service.plans.of_job("job_1_none")
