"""Many jobs at once on a real MongoDB: filters, pages, counts, CSV, comparisons, the best so far."""

import base64
import csv
import io
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.jobs_service import FOUND, MODEL, NO_MODEL, Service, claim, report
from tunedeck_contracts.errors import BadRequest, NotFound, ValidationFailed
from tunedeck_contracts.hyperparameters import decode_uid
from tunedeck_contracts.job_lists import (
    FindJobsUsing,
    GetBestHyperparameters,
    JobFilters,
    JobGroup,
    JobPage,
    JobSort,
    ListJobs,
)
from tunedeck_contracts.jobs import Status, TrainingMode
from tunedeck_contracts.runs import Outcome
from tunedeck_jobs import csv_export
from tunedeck_jobs.repository import documents
from tunedeck_jobs.resolving import Resolution

TINY = {"uid": "local/tiny"}


def on(dataset: str, **settings: object) -> dict[str, object]:
    return {"model": TINY, "dataset": {"uid": dataset}, "hyperparameters": settings}


async def using(service: Service, dataset: str, *also: str) -> list[str]:
    return await service.listing.using_dataset(FindJobsUsing(dataset=dataset, also=list(also)))


async def names(service: Service, **asked: object) -> list[str]:
    page = await service.listing.page(ListJobs.model_validate(asked))
    assert page.next_cursor is None
    return [job.name for job in page.jobs]


async def test_the_list_counts_all_and_filters(service: Service) -> None:
    await service.running(name="runs")
    done = await service.ended(name="done")
    every = await service.listing.page(ListJobs())
    assert (every.total, every.current_count, every.past_count, len(every.jobs)) == (2, 1, 1, 2)
    past = await service.listing.page(ListJobs(group=JobGroup.PAST))
    assert ([job.uid for job in past.jobs], past.total) == ([done], 2)
    assert await names(service, group="current") == ["runs"]
    assert await names(service, group="current", status=["completed"]) == []
    assert await names(service, status=["completed,running"]) == ["done", "runs"]


def test_a_status_is_one_of_the_words_in_any_of_the_two_ways_to_write_several() -> None:
    wanted = [Status.QUEUED, Status.RUNNING, Status.FAILED]
    assert JobFilters.model_validate({"status": ["queued, running", "failed"]}).status == wanted
    with pytest.raises(ValidationError, match="'created', 'queued', 'running'"):
        JobFilters.model_validate({"status": ["queued,done"]})


async def test_text_is_found_as_it_is_written_in_any_case(service: Service) -> None:
    await service.create(name="Über (beta) 100%", description="first")
    await service.create(name="plain", description="A.C and $more", tags=["red", "a.b"])
    abc = (await service.create(name="ABC", tags=["RED"])).job_uid
    for text, found in {
        "(BETA)": ["Über (beta) 100%"],
        "über": ["Über (beta) 100%"],
        "a.c": ["plain"],
        "$MORE": ["plain"],
        abc.upper()[-12:]: ["ABC"],
        ".*": [],
        "[": [],
        "\\": [],
        "a\0b": [],
    }.items():
        assert await names(service, q=text) == found, text
    assert await names(service, tag="red") == ["plain"]
    assert await names(service, tag="a.b", q="first") == []


@pytest.mark.parametrize("sort", list(JobSort))
async def test_pages_have_every_job_once_while_jobs_are_added(service: Service, sort: JobSort) -> None:
    for name in ("b", "a", "b", "a", "b", "c", "a"):
        await service.create(name=name, start=False)
    await service.running()
    before = [job.uid for job in (await service.listing.page(ListJobs(sort=sort))).jobs]
    seen, cursor = [], None
    while True:
        page = await service.listing.page(ListJobs(sort=sort, limit=3, cursor=cursor))
        seen += [job.uid for job in page.jobs]
        cursor = page.next_cursor
        if cursor is None:
            break
        await service.create(name="b")
        assert len(seen) < 100
    assert [uid for uid in seen if uid in before] == before
    assert len(set(seen)) == len(seen)


async def test_a_list_that_just_fits_has_no_next_page(service: Service) -> None:
    for _ in range(3):
        await service.create()
    assert (await service.listing.page(ListJobs(limit=3))).next_cursor is None
    assert (await service.listing.page(ListJobs(limit=2))).next_cursor is not None


async def test_a_list_longer_than_one_answer_says_where_it_goes_on(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunedeck_jobs.listing.MOST_JOBS", 2)
    for name in "abc":
        await service.create(name=name)
    page = await service.listing.page(ListJobs(sort=JobSort.NAME))
    assert [job.name for job in page.jobs] == ["a", "b"]
    assert await names(service, sort="name", cursor=page.next_cursor) == ["c"]


@pytest.mark.parametrize("cursor", ["x", "é", "====", "W10", "bnVsbA", "W1tb" * 490])
async def test_a_cursor_that_is_none_is_refused_with_a_sentence(service: Service, cursor: str) -> None:
    with pytest.raises(BadRequest, match="cursor"):
        await service.listing.page(ListJobs(cursor=cursor))


@pytest.mark.parametrize(
    ("sort", "value", "uid"),
    [
        (JobSort.NEWEST, "x", "y"),
        (JobSort.NAME, "\ud800", "u"),
        (JobSort.NAME, "n", "\ud800"),
        (JobSort.CREATED, "0001-01-01T00:00:00+23:59", "u"),
        (JobSort.CREATED, "9999-12-31T23:59:59-23:59", "u"),
        (JobSort.CREATED, "2026-01-01T00:00:00", "u"),
    ],
)
async def test_a_place_that_no_job_has_is_refused_with_a_sentence(
    service: Service, sort: JobSort, value: str, uid: str
) -> None:
    cursor = base64.urlsafe_b64encode(json.dumps([sort.value, value, uid]).encode()).decode()
    with pytest.raises(BadRequest, match="begin again without it"):
        await service.listing.page(ListJobs(cursor=cursor.rstrip("="), sort=sort))


async def test_a_cursor_of_another_order_is_refused(service: Service) -> None:
    for _ in range(2):
        await service.create()
    page = await service.listing.page(ListJobs(limit=1, sort=JobSort.NAME))
    with pytest.raises(BadRequest, match="sorted by 'name'"):
        await service.listing.page(ListJobs(cursor=page.next_cursor))
    with pytest.raises(ValidationError):
        JobPage(limit=0)


async def test_statistics_count_what_api_md_counts(service: Service) -> None:
    nothing = await service.listing.statistics()
    assert (nothing.total, nothing.success_rate) == (0, "0.0%")
    for outcome in [Outcome.COMPLETED] * 5 + [Outcome.FAILED] * 2:
        await service.ended(outcome)
    await service.steering.cancel((await service.create()).job_uid)
    await service.running()
    await service.create()
    await service.create(start=False)
    counted = (await service.listing.statistics()).model_dump()
    assert counted.pop("last_updated")
    assert counted == {
        "total": 11,
        "current": {"total": 3, "running": 1, "queued": 1, "created": 1, "paused": 0},
        "past": {"total": 8, "completed": 5, "failed": 2, "cancelled": 1},
        "success_rate": "71.4%",
    }


async def test_the_csv_has_the_list_and_no_formula(service: Service) -> None:
    hostile = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\0x"]
    for text in hostile:
        await service.create(name=text, description=text, tags=[text], start=False)
    await service.ended(name='says "so", twice\nand again', configuration=on("d", learning_rate=1e-5))
    text = await service.listing.export(JobFilters(sort=JobSort.CREATED))
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    found = [dict(zip(header, row, strict=True)) for row in rows]
    assert [row["name"] for row in found[:-1]] == [f"'{text}" for text in hostile]
    assert [row["tags"] for row in found[:-1]] == [f"'{text}" for text in hostile]
    assert not [cell for row in rows for cell in row if cell.startswith(tuple("=+-@\t\r\0"))]
    last = found[-1]
    assert (last["name"], last["learning_rate"]) == ('says "so", twice\nand again', "1e-05")
    assert (last["status"], last["validationLossAfter"], last["progress"]) == ("completed", "1.0", "100.0")
    assert last["createdAt"].endswith("Z")
    only = await service.listing.export(JobFilters(status=[Status.COMPLETED]))
    assert len(list(csv.reader(io.StringIO(only, newline="")))) == 2


async def test_long_lists_are_made_in_parts_beside_the_event_loop(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunedeck_jobs.repository.lists._BATCH", 2)
    for name in "abcde":
        await service.create(name=name, start=False)
    threads: set[str] = set()

    def noted(work: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*given: Any) -> Any:
            threads.add(threading.current_thread().name)
            return work(*given)

        return noting

    monkeypatch.setattr(documents, "to_record", noted(documents.to_record))
    monkeypatch.setattr(csv_export, "_row", noted(csv_export._row))
    assert await names(service, sort="name") == list("abcde")
    exported = csv.DictReader(io.StringIO(await service.listing.export(JobFilters(sort=JobSort.NAME))))
    assert [row["name"] for row in exported] == list("abcde")
    assert threads and threading.current_thread().name not in threads


async def test_an_export_that_would_be_cut_is_refused(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunedeck_jobs.listing.MOST_EXPORTED", 2)
    for name in ("first", "second", "b"):
        await service.create(name=name)
    with pytest.raises(BadRequest, match="More than 2 jobs"):
        await service.listing.export(JobFilters())
    assert len((await service.listing.export(JobFilters(q="second"))).splitlines()) == 2


async def test_a_comparison_shows_what_differs(service: Service) -> None:
    first = await service.ended(loss=1.5, configuration=on("dataset_1", lora_r=4, epochs=2))
    second = (await service.create(configuration=on("dataset_1", lora_r=16, epochs=2))).job_uid
    found = await service.listing.compare([second, first])
    assert [job.uid for job in found.jobs] == [second, first]
    assert found.differences == {"lora_r": {first: 4, second: 16}}
    assert (found.same_model, found.same_dataset) == (True, True)
    assert [(job.status, job.validation_loss) for job in found.jobs] == [("queued", None), ("completed", 1.5)]
    assert found.jobs[0].seconds is None and found.jobs[1].seconds is not None
    service.resolver.answer = NO_MODEL
    third = (await service.create(configuration=on("dataset_1"))).job_uid
    assert (await service.listing.compare([first, third])).same_model is False
    with pytest.raises(NotFound, match="'job_x', 'job_y'"):
        await service.listing.compare([first, "job_x", "job_y"])
    with pytest.raises(ValidationFailed, match="twice"):
        await service.listing.compare([first, first])


async def test_the_best_settings_are_those_of_the_lowest_validation_loss(service: Service) -> None:
    with pytest.raises(NotFound, match="No job has completed yet"):
        await service.listing.best(GetBestHyperparameters())
    await service.ended(loss=2.0)
    best = await service.ended(
        loss=0.5, configuration=on("dataset_1", uid="config-123", lora_r=4), name="the best"
    )
    await service.ended(loss=float("nan"))
    await service.ended(Outcome.FAILED)
    automated = await service.ended(loss=1.0, trainingMode="automated")
    found = await service.listing.best(GetBestHyperparameters(dataset="dataset_1"))
    assert (found.job_uid, found.job_name, found.validation_loss) == (best, "the best", 0.5)
    assert found.hyperparameters.lora_r == 4 and decode_uid(found.uid) == found.hyperparameters
    searched = GetBestHyperparameters(mode=TrainingMode.AUTOMATED)
    assert (await service.listing.best(searched)).job_uid == automated
    with pytest.raises(NotFound, match="dataset 'dataset_2' has completed"):
        await service.listing.best(GetBestHyperparameters(dataset="dataset_2"))


@pytest.mark.usefixtures("telemetry_forgets")
async def test_jobs_that_have_not_ended_need_their_dataset(service: Service) -> None:
    assert await using(service, "dataset_1") == []
    runs, fence = await service.running(configuration=on("upload_1"))
    waits = (await service.create()).job_uid
    service.resolver.answer = NO_MODEL
    created = (await service.create(configuration=on("upload_2"))).job_uid
    service.resolver.answer = FOUND
    assert await using(service, "dataset_1") == [runs, waits, created]
    assert await using(service, "dataset_2") == []
    await service.queue.report(report(runs, fence))
    await service.steering.cancel(waits)
    await service.deletion.delete(created)
    assert await using(service, "dataset_1") == []
    assert (await service.queue.claim(claim())).run is None


@pytest.mark.parametrize("name", ["my-data", "upload_1"])
async def test_a_job_whose_dataset_did_not_resolve_needs_what_it_names(service: Service, name: str) -> None:
    service.resolver.answer = Resolution(MODEL, None, ("dataset: The catalog is away.",))
    created = (await service.create(configuration=on(name))).job_uid
    assert await using(service, "dataset_1", "my-data", "upload_1") == [created]
    assert await using(service, "dataset_1", "other", "upload_2") == []
