"""The files of completed jobs on their way to the Hub, on a real MongoDB; no push is a change of the job."""

from typing import Any

import pytest

from tests.connected.jobs.test_artifacts import put
from tests.support.jobs_service import Service, report
from tunedeck_contracts.errors import Conflict, ValidationFailed
from tunedeck_contracts.jobs import Job, Status
from tunedeck_contracts.model_saving import (
    ClaimPush,
    HubPush,
    PushOptions,
    PushProblem,
    PushState,
    PushWork,
    ReportPush,
)

PUSHED = {"modelName": "writer/sums", "pushToHub": True}
REFUSAL = HubPush(
    state=PushState.FAILED,
    repository="writer/sums",
    public=False,
    problem=PushProblem.NO_TOKEN,
    detail="No token.",
    hint="Set one.",
)
SUCCESS = HubPush(
    state=PushState.PUSHED,
    repository="writer/sums",
    public=False,
    url="http://hub/writer/sums",
    commit="c0ffee",
)


async def completed(service: Service, **saving: Any) -> Job:
    """A job that has completed with one file."""
    uid, fence = await service.running(modelSaving=saving)
    await service.queue.report(report(uid, fence, artifacts=[await put(service)]))
    return await service.jobs.get(uid)


async def claimed(service: Service, worker: str = "trainer_1", seconds: float = 60.0) -> PushWork | None:
    return (await service.pushes.claim(ClaimPush(worker=worker, seconds=seconds))).work


async def told(service: Service, work: PushWork, push: HubPush) -> HubPush | None:
    await service.pushes.report(ReportPush(job_uid=work.job_uid, claim=work.claim, push=push))
    return (await service.jobs.get(work.job_uid)).hub_push


async def test_a_job_that_asks_for_it_waits_for_a_trainer_once_it_has_completed(service: Service) -> None:
    job = await completed(service, **PUSHED)
    assert job.hub_push is not None
    assert (job.hub_push.state, job.hub_push.repository) == (PushState.WAITING, "writer/sums")
    work = await claimed(service)
    assert work is not None
    assert (work.job_uid, work.repository, work.public) == (job.uid, "writer/sums", False)
    assert [file.path for file in work.files] == [one.path for one in job.artifacts]
    assert await claimed(service, "trainer_2") is None
    found = await told(service, work, SUCCESS)
    assert found is not None and found.at is not None
    assert found.model_copy(update={"at": None}) == SUCCESS
    after = await service.jobs.get(job.uid)
    assert (after.status, after.rev, after.artifacts) == (Status.COMPLETED, job.rev, job.artifacts)


async def test_a_job_that_does_not_ask_for_it_is_not_sent(service: Service) -> None:
    assert (await completed(service)).hub_push is None
    assert (await completed(service, modelName="sums", pushToHub=True, saveModel=False)).hub_push is None
    uid, fence = await service.running(modelSaving=PUSHED, stopAfterSteps=3)
    await service.queue.report(report(uid, fence, artifacts=[await put(service)]))
    assert (await service.jobs.get(uid)).hub_push is None
    assert await claimed(service) is None


async def test_a_failed_push_is_told_and_can_be_tried_again_to_another_place(service: Service) -> None:
    job = await completed(service, **PUSHED)
    work = await claimed(service)
    assert work is not None
    failed = await told(service, work, REFUSAL)
    assert failed is not None
    assert (failed.state, failed.problem, failed.hint) == (PushState.FAILED, PushProblem.NO_TOKEN, "Set one.")
    again = (await service.pushes.want(job.uid, PushOptions(model_name="other", make_public=True))).hub_push
    assert again is not None
    assert (again.state, again.repository, again.public) == (PushState.WAITING, "other", True)
    assert (again.problem, again.detail, again.hint) == (None, None, None)
    second = await claimed(service)
    assert second is not None and second.claim > work.claim


async def test_what_a_trainer_gave_up_is_taken_over_and_its_late_word_is_not_heard(service: Service) -> None:
    await completed(service, **PUSHED)
    first = await claimed(service, seconds=0.001)
    assert first is not None
    while (second := await claimed(service, "trainer_2")) is None:
        pass
    still = await told(service, first, REFUSAL)
    assert still is not None and still.state is PushState.PUSHING
    found = await told(service, second, SUCCESS)
    assert found is not None and found.state is PushState.PUSHED


async def test_a_trainer_that_was_started_again_takes_up_its_own(service: Service) -> None:
    await completed(service, **PUSHED)
    first = await claimed(service)
    again = await claimed(service)
    assert first is not None and again is not None
    assert again.claim == first.claim + 1


async def test_what_cannot_be_pushed_is_refused_with_the_reason(service: Service) -> None:
    running, _ = await service.running()
    with pytest.raises(Conflict, match="is running; only a completed job"):
        await service.pushes.want(running, PushOptions(model_name="sums"))
    without = await service.ended()
    with pytest.raises(Conflict, match="has kept no files"):
        await service.pushes.want(without, PushOptions(model_name="sums"))
    job = await completed(service, modelName="My model!")
    with pytest.raises(ValidationFailed, match="'My model!' is no name of a repository"):
        await service.pushes.want(job.uid, PushOptions())
    await service.pushes.want(job.uid, PushOptions(model_name="sums"))
    assert await claimed(service) is not None
    with pytest.raises(Conflict, match="being sent"):
        await service.pushes.want(job.uid, PushOptions(model_name="sums"))


async def test_a_name_that_looks_like_a_field_is_kept_as_it_is(service: Service) -> None:
    job = await completed(service, modelName="$status")
    assert job.model_saving.model_name == "$status"
    with pytest.raises(ValidationFailed):
        await service.pushes.want(job.uid, PushOptions())
