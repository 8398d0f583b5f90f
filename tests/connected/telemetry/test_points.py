"""Points on real servers: every one once, whatever comes twice or late."""

from typing import Any

import pytest

from tests.support.telemetry_service import (
    NONE_STORED,
    Telemetry,
    log_line,
    loss,
    new_job,
    publish,
    sample,
    started_event,
    until,
)
from tunedeck_contracts.telemetry import GetHistory, GetStored, Stored, sequence


async def test_points_that_come_twice_are_stored_once_and_in_order(telemetry: Telemetry) -> None:
    job = new_job()
    await telemetry.ingest.job_event(started_event(job))
    twice = [loss(job, n) for n in [*range(250, 0, -1), *range(1, 251)]]
    for n, recorded in enumerate(twice):
        await publish(telemetry.bus, recorded, f"{job}:{n}")

    async def complete() -> bool:
        asked = GetStored(job_id=job, fence=1, after=NONE_STORED)
        return (await telemetry.curves.stored(asked)).losses == 250

    await until(complete)
    points = await telemetry.curves.losses(job, 10_000)
    assert [point.iteration for point in points] == list(range(1, 251))


async def test_a_hole_holds_the_watermark(telemetry: Telemetry) -> None:
    job = new_job()
    numbers = [n for n in range(1, 321) if n != 150]
    await telemetry.ingest.recorded([loss(job, n) for n in numbers])
    await telemetry.ingest.recorded([log_line(job, n) for n in range(1, 8)])
    asked = GetStored(job_id=job, fence=1, after=NONE_STORED)
    assert await telemetry.curves.stored(asked) == Stored(losses=149, resources=0, logs=7)
    await telemetry.ingest.recorded([loss(job, 150)])
    later = GetStored(job_id=job, fence=1, after=Stored(losses=149, resources=0, logs=7))
    assert (await telemetry.curves.stored(later)).losses == 320


async def test_a_newer_fence_replaces_the_points_that_it_owns(telemetry: Telemetry) -> None:
    job = new_job()
    await telemetry.ingest.job_event(started_event(job))
    await telemetry.ingest.recorded([loss(job, n, fence=1) for n in range(1, 11)])
    await telemetry.ingest.job_event(started_event(job, rev=5, fence=3, resume_step=4))
    await telemetry.ingest.recorded([loss(job, n, fence=3, train_loss=9.0) for n in range(5, 8)])
    points = await telemetry.curves.losses(job, 100)
    assert [(one.iteration, one.train_loss) for one in points] == [
        *[(n, 1.0) for n in range(1, 5)],
        *[(n, 9.0) for n in range(5, 8)],
    ]
    late = [loss(job, 11, fence=1)]
    await telemetry.ingest.recorded(late)
    assert (await telemetry.curves.losses(job, 1))[0].iteration == 7, (
        "a replaced run's late point is not seen"
    )


@pytest.mark.parametrize("page", [1, 7, 1000])
async def test_a_point_that_died_with_its_run_is_read_of_the_run_that_told_it_again(
    telemetry: Telemetry, page: int
) -> None:
    job = new_job()
    await telemetry.ingest.job_event(started_event(job))
    # The trainer was killed while the points after 140 waited in its spool; of the second run some arrived.
    await telemetry.ingest.recorded([loss(job, n, fence=1) for n in range(1, 141)])
    await telemetry.ingest.job_event(started_event(job, rev=5, fence=2, resume_step=205))
    await telemetry.ingest.recorded([loss(job, n, fence=2, train_loss=2.0) for n in range(1, 151)])
    await telemetry.ingest.job_event(started_event(job, rev=8, fence=3, resume_step=205))
    await telemetry.ingest.recorded([loss(job, n, fence=3, train_loss=3.0) for n in range(1, 209)])
    told = [1.0] * 140 + [2.0] * 10 + [3.0] * 58
    points = await telemetry.curves.losses(job, 10_000)
    assert [(one.iteration, one.train_loss) for one in points] == list(enumerate(told, start=1))
    assert [one.iteration for one in await telemetry.curves.losses(job, 60)] == list(range(149, 209))
    seen, after = [], sequence(1, 130)
    while True:
        history = await telemetry.curves.history(GetHistory(job_id=job, after=after, limit=page))
        seen += history.points
        if not history.more:
            break
        after = history.points[-1].seq
    owned = [(1, n) for n in range(131, 206)] + [(3, n) for n in range(206, 209)]
    assert [(one.fence, one.point.iteration) for one in seen] == owned


@pytest.mark.parametrize("page", [1, 7, 1000])
async def test_the_history_has_no_gap_and_no_duplicate_at_any_page_size(
    telemetry: Telemetry, page: int
) -> None:
    job = new_job()
    await telemetry.ingest.job_event(started_event(job))
    await telemetry.ingest.recorded([loss(job, n) for n in range(1, 206)])
    await telemetry.ingest.recorded([sample(job, n, second=n * 10) for n in range(1, 21)])
    seen, after = [], sequence(1, 190)
    while True:
        history = await telemetry.curves.history(GetHistory(job_id=job, after=after, limit=page))
        seen += history.points
        if not history.more:
            break
        after = history.points[-1].seq
    assert [one.seq for one in seen] == [sequence(1, n) for n in range(191, 206)]
    assert history.total == 500
    cpu = [one.resources.cpu_percent for one in seen if one.resources]
    assert cpu == [19.0] * 9 + [20.0] * 6, "each point has the sample taken no later than itself"


async def test_what_is_stored_while_the_history_is_read_leaves_no_gap_in_it(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = new_job()
    await telemetry.ingest.job_event(started_event(job))
    await telemetry.ingest.recorded([loss(job, n) for n in (1, 2)])
    await telemetry.ingest.job_event(started_event(job, rev=5, fence=2, resume_step=4))
    await telemetry.ingest.recorded([loss(job, 1, fence=2)])
    first, batch = telemetry.repository.first, [loss(job, n, fence=2) for n in range(2, 7)]

    async def read(*given: Any, **more: Any) -> list[Any]:
        found: list[Any] = await first(*given, **more)
        await telemetry.ingest.recorded(batch)
        return found

    monkeypatch.setattr(telemetry.repository, "first", read)
    points = (await telemetry.curves.history(GetHistory(job_id=job))).points
    iterations = [one.point.iteration for one in points]
    assert iterations == list(range(1, len(iterations) + 1)) and len(iterations) >= 2


async def test_the_last_200_lines_go_over_the_runs(telemetry: Telemetry) -> None:
    job = new_job()
    await telemetry.ingest.job_event(started_event(job))
    await telemetry.ingest.recorded([log_line(job, n, fence=1) for n in range(1, 151)])
    await telemetry.ingest.recorded([log_line(job, n, fence=2) for n in range(1, 101)])
    lines = (await telemetry.curves.logs(job, 200)).lines
    assert [(line.fence, line.number) for line in lines] == [
        *[(1, n) for n in range(51, 151)],
        *[(2, n) for n in range(1, 101)],
    ]


@pytest.mark.usefixtures("long_fetches")
async def test_a_lone_point_is_stored_long_before_a_fetch_is_over(telemetry: Telemetry) -> None:
    job = new_job()
    await publish(telemetry.bus, loss(job, 1), job)

    async def complete() -> bool:
        asked = GetStored(job_id=job, fence=1, after=NONE_STORED)
        return (await telemetry.curves.stored(asked)).losses == 1

    await until(complete)


async def test_a_point_has_the_first_sample_when_none_is_earlier_and_none_without_any(
    telemetry: Telemetry,
) -> None:
    job = new_job()
    await telemetry.ingest.job_event(started_event(job))
    await telemetry.ingest.recorded([loss(job, 1), loss(job, 2)])
    bare = await telemetry.curves.history(GetHistory(job_id=job))
    assert [one.resources for one in bare.points] == [None, None]
    await telemetry.ingest.recorded([sample(job, 1, second=10), sample(job, 2, second=20)])
    late = await telemetry.curves.history(GetHistory(job_id=job))
    assert [one.resources.cpu_percent for one in late.points if one.resources] == [1.0, 1.0]
