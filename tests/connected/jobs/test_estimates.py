"""What a run's probe has found: kept with the job, told once, and given to every later attempt."""

import pytest

from tests.support.jobs_service import Service, claim, probed, report
from tunedeck_contracts.errors import Fenced
from tunedeck_contracts.runs import Outcome


async def types_of(service: Service, uid: str) -> list[str]:
    return [one.type.value for one in (await service.jobs.events(uid)).events]


async def test_a_split_is_an_event_of_the_job_once_and_every_later_attempt_has_it(service: Service) -> None:
    uid, fence = await service.running()
    found = probed(micro_batch_size=2)
    for _ in range(3):
        await service.beat(uid, fence, probed=found)
    job = await service.jobs.get(uid)
    assert (job.batch_split, job.configuration.hyperparameters.batch_size) == (found.split, 8)
    assert (await types_of(service, uid)).count("adjusted") == 1
    told = (await service.events(uid))[-1]
    assert (told.type.value, told.batch_split) == ("adjusted", found.split)
    for _ in range(2):
        await service.queue.report(report(uid, fence, Outcome.LOST))
        run = (await service.queue.claim(claim())).run
        assert run is not None and run.probed == found
        fence = run.fence
    await service.beat(uid, fence, probed=probed(micro_batch_size=4))
    assert (await service.jobs.get(uid)).batch_split == found.split
    # On another device the same split takes something else.
    elsewhere = found.model_copy(
        update={"predicted": found.predicted.model_copy(update={"device": "cuda:0"})}
    )
    await service.beat(uid, fence, probed=elsewhere)
    job = await service.jobs.get(uid)
    assert job.estimate is not None and job.estimate.predicted == elsewhere.predicted
    # Where there is less memory, an attempt splits them further.
    finer = probed(micro_batch_size=1)
    for _ in range(2):
        await service.beat(uid, fence, probed=finer)
    assert (await service.jobs.get(uid)).batch_split == finer.split
    assert (await types_of(service, uid)).count("adjusted") == 2


async def test_what_fits_as_it_was_asked_for_is_no_event(service: Service) -> None:
    uid, fence = await service.running()
    assert (await service.jobs.get(uid)).estimate is None
    await service.beat(uid, fence, probed=probed())
    job = await service.jobs.get(uid)
    assert job.estimate is not None and job.estimate.actual is None
    assert (job.estimate.predicted, job.batch_split) == (probed().predicted, None)
    assert await types_of(service, uid) == ["created", "queued", "started"]
    await service.queue.report(report(uid, fence, Outcome.LOST))
    run = (await service.queue.claim(claim())).run
    assert run is not None and run.probed == probed()


@pytest.mark.parametrize("micro_batch_size", [None, 4])
async def test_a_run_that_ends_before_its_first_beat_has_its_estimate_too(
    service: Service, micro_batch_size: int | None
) -> None:
    uid, fence = await service.running()
    found = probed(micro_batch_size)
    ended = report(uid, fence).model_copy(update={"probed": found})
    assert ended.result is not None
    result = ended.result.model_copy(update={"peak_memory_bytes": 410_000_000})
    await service.queue.report(ended.model_copy(update={"result": result}))
    job = await service.jobs.get(uid)
    assert job.estimate is not None and job.estimate.predicted == found.predicted
    actual = job.estimate.actual
    assert actual is not None
    assert (actual.seconds, actual.peak_memory_bytes, actual.energy_watt_hours) == (2.0, 410_000_000, None)
    assert job.batch_split == found.split
    assert ("adjusted" in await types_of(service, uid)) == (micro_batch_size is not None)


async def test_a_replaced_run_adjusts_nothing(service: Service) -> None:
    uid, fence = await service.running()
    await service.queue.report(report(uid, fence, Outcome.LOST))
    run = (await service.queue.claim(claim())).run
    assert run is not None
    late = report(uid, fence).model_copy(update={"probed": probed(micro_batch_size=2)})
    with pytest.raises(Fenced):
        await service.queue.report(late)
    with pytest.raises(Fenced):
        await service.beat(uid, fence, probed=probed(micro_batch_size=2))
    job = await service.jobs.get(uid)
    assert (job.batch_split, job.estimate) == (None, None)
