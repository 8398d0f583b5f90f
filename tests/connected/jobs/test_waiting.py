"""A queued job says where it stands, when it is likely to start, and what it lacks."""

import asyncio
from datetime import timedelta

from tests.support.jobs_service import Service, claim, report
from tunedeck_contracts.job_lists import ListJobs
from tunedeck_contracts.jobs import Job, Status
from tunedeck_contracts.message import utc_now
from tunedeck_contracts.runs import Outcome
from tunedeck_contracts.training import LogLine

NO_GPU = "No trainer that is there has a GPU; the job waits for one."


async def listed(service: Service) -> dict[str, Job]:
    return {job.uid: job for job in (await service.listing.page(ListJobs())).jobs}


async def test_a_job_that_wants_a_gpu_waits_visibly_until_a_trainer_has_one(service: Service) -> None:
    uid = (await service.create(device="gpu")).job_uid
    assert (await service.queue.claim(claim())).run is None
    for job in (await service.jobs.get(uid), (await listed(service))[uid]):
        assert (job.status, job.problems, job.queue_position) == (Status.QUEUED, [NO_GPU], 1)
        assert job.expected_start is None
    behind = (await service.create()).job_uid
    run = (await service.queue.claim(claim())).run
    assert run is not None and run.job_uid == behind, "what needs no GPU does not wait behind it"
    run = (await service.queue.claim(claim("trainer_2", "cuda:0"))).run
    assert run is not None and (run.job_uid, run.device) == (uid, "gpu")
    job = await service.jobs.get(uid)
    assert (job.problems, job.queue_position, job.expected_start) == ([], None, None)


async def test_a_trainer_that_works_counts_as_there(service: Service) -> None:
    await service.create(device="gpu")
    assert (await service.queue.claim(claim("trainer_2", "cuda:0"))).run is not None
    await service.client[service.settings.jobs_database]["trainers"].delete_many({})
    waiting = (await service.create(device="gpu")).job_uid
    assert (await service.jobs.get(waiting)).problems == []


async def test_the_expected_start_is_told_when_something_is_known(service: Service) -> None:
    uid, fence = await service.running()
    first = (await service.create()).job_uid
    second = (await service.create()).job_uid
    assert (await service.jobs.get(first)).expected_start is None, "the run has not done a step"
    await service.beat(uid, fence, step=1, total_steps=1000)
    before = utc_now()
    told = (await service.jobs.get(first)).expected_start
    assert told is not None and told >= before
    assert (await service.jobs.get(second)).expected_start is None, (
        "nobody knows how long the first will take"
    )
    await service.queue.report(report(uid, fence))
    jobs = await listed(service)
    starts = [jobs[one].expected_start for one in (first, second)]
    assert starts[0] is not None and starts[1] is not None
    assert starts[1] - starts[0] == timedelta(seconds=2), "as the one that has completed took"
    assert [jobs[one].queue_position for one in (first, second)] == [1, 2]


async def test_the_last_lines_stay_with_an_ended_job_and_weigh_on_no_list(service: Service) -> None:
    lines = [LogLine(number=n, level="info", text=f"$line {n}", timestamp=utc_now()) for n in range(1, 201)]
    uid, fence = await service.running()
    told = report(uid, fence, Outcome.FAILED).model_copy(update={"log": lines})
    await service.queue.report(told)
    assert (await service.jobs.get(uid)).log == lines
    assert "log" not in (await listed(service))[uid].model_dump()
    other, _ = await service.running()
    assert (await service.jobs.get(other)).log is None


async def test_the_lines_of_a_beat_stay_with_a_job_whose_trainer_is_lost(service: Service) -> None:
    service.settings.max_attempts = 1
    uid, fence = await service.running()
    lines = [LogLine(number=1, level="error", text="$last words", timestamp=utc_now())]
    await service.beat(uid, fence, log=lines)
    await service.beat(uid, fence)
    async with asyncio.timeout(20):
        while not (lost := await service.repository.expired()):
            await asyncio.sleep(0.05)
    assert await service.queue.lose(lost[0]) is not None
    job = await service.jobs.get(uid)
    assert (job.status, job.log) == (Status.FAILED, lines)


async def test_a_job_of_a_former_version_gets_what_it_lacks(service: Service) -> None:
    uid = (await service.create()).job_uid
    jobs = service.client[service.settings.jobs_database]["jobs"]
    lacking = ("priority", "deadline", "device", "retry_of", "events", "checkpoints", "newest_step")
    lacking += ("resume_step", "lost", "log", "released", "reported_outcome")
    await jobs.update_one({"_id": uid}, {"$unset": dict.fromkeys(lacking, "")})
    await service.prepare()
    run = (await service.queue.claim(claim())).run
    assert run is not None and run.job_uid == uid
    assert [one.type.value for one in (await service.jobs.events(uid)).events] == ["started"]
