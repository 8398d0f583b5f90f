"""The routes of jobs over HTTP, with the jobs service behind a real NATS."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from tests.support.jobs_service import Service, body, report
from tunedeck_chassis.disk_guard import DiskGuard
from tunedeck_chassis.presence import Presence
from tunedeck_contracts.runs import Outcome
from tunedeck_gateway import errors
from tunedeck_gateway.access.keys import Keys
from tunedeck_gateway.access.repository import KeyRepository, TicketRepository
from tunedeck_gateway.access.tickets import Tickets
from tunedeck_gateway.bridge import Gateway
from tunedeck_gateway.routes import jobs, training
from tunedeck_gateway.settings import GatewaySettings


@pytest.fixture
async def http(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the two routers; the header `Test-Owner` stands for the API key of a request."""

    async def no_problem() -> None:
        return None

    app = FastAPI()
    settings = GatewaySettings()
    keys = Keys(KeyRepository(service.client, settings.gateway_database), settings.key_cache_seconds)
    tickets = Tickets(TicketRepository(service.client, settings.gateway_database), Presence())
    disk = DiskGuard(service.client[settings.gateway_database], 0, Presence())
    app.state.gateway = Gateway(settings, service.bus, service.blobs, no_problem, keys, tickets, disk)
    app.include_router(jobs.router)
    app.include_router(training.router)
    errors.install(app)

    @app.middleware("http")
    async def with_owner(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        request.state.key_id = request.headers.get("Test-Owner", "")
        return await go_on(request)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


async def test_without_a_trainer_there_is_no_preview(http: httpx.AsyncClient) -> None:
    uid = (await http.post("/api/jobs", json=body())).json()["jobUid"]
    answer = await http.get(f"/api/jobs/{uid}/preview")
    assert (answer.status_code, answer.json()["detail"]) == (503, "The trainer service is away.")
    assert "Retry-After" in answer.headers
    assert (await http.get("/api/jobs/a.b/preview")).status_code == 404


async def test_without_a_trainer_there_is_no_estimate(http: httpx.AsyncClient) -> None:
    answer = await http.post("/api/jobs/estimate", json=body())
    assert (answer.status_code, answer.json()["detail"]) == (503, "The trainer service is away.")


async def test_fifty_posts_with_one_key_make_one_job_and_get_equal_answers(http: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "a key, 1"}
    posts = [http.post("/api/jobs", json=body(), headers=headers) for _ in range(50)]
    answers = await asyncio.gather(*posts)
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert (await http.get("/api/jobs")).json()["total"] == 1
    other = await http.post("/api/jobs", json=body(name="other"), headers=headers)
    assert (other.status_code, other.json()["error_type"]) == (409, "Conflict")
    mine = await http.post("/api/jobs", json=body(), headers={**headers, "Test-Owner": "key_1"})
    assert mine.status_code == 201 and mine.content != answers[0].content


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "é"])
async def test_a_key_that_is_none_is_refused(http: httpx.AsyncClient, key: str) -> None:
    answer = await http.post("/api/jobs", json=body(), headers=[("Idempotency-Key", key.encode())])  # type: ignore[list-item]
    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["detail"]


async def test_the_fixed_paths_are_no_uids(http: httpx.AsyncClient) -> None:
    uid = (await http.post("/api/jobs", json=body())).json()["jobUid"]
    for path, count in {"": 1, "/current": 1, "/past": 0}.items():
        page = (await http.get(f"/api/jobs{path}")).json()
        assert set(page) == {"jobs", "total", "current_count", "past_count", "next_cursor"}
        assert (len(page["jobs"]), page["total"], page["next_cursor"]) == (count, 1, None)
    assert (await http.get("/api/jobs/statistics")).json()["current"]["queued"] == 1
    export = await http.get("/api/jobs/export")
    assert export.headers["content-type"] == "text/csv; charset=utf-8"
    assert export.text.splitlines()[1].startswith(uid)
    compared = await http.post("/api/jobs/compare", json={"uids": [uid, "job_none"]})
    assert (compared.status_code, compared.json()["detail"]) == (404, "There is no job 'job_none'.")


async def test_several_states_are_asked_for_in_both_ways(http: httpx.AsyncClient) -> None:
    await http.post("/api/jobs", json=body(name="waits"))
    await http.post("/api/jobs", json=body(name="made", start=False))
    for query, found in {
        "status=queued": ["waits"],
        "status=created,queued": ["made", "waits"],
        "status=created&status=queued": ["made", "waits"],
        "status=failed": [],
        "status=": ["made", "waits"],
        "q=WAIT": ["waits"],
        "sort=-name&limit=1": ["waits"],
    }.items():
        page = (await http.get(f"/api/jobs?{query}")).json()
        assert [job["name"] for job in page["jobs"]] == found, query


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ("status=done", 422, "'created'"),
        ("sort=size", 422, "'createdAt'"),
        ("limit=0", 422, "limit"),
        ("limit=5001", 422, "limit"),
        ("cursor=nonsense", 400, "begin again without it"),
    ],
)
async def test_a_wrong_filter_is_refused_with_a_sentence(
    http: httpx.AsyncClient, query: str, status: int, says: str
) -> None:
    answer = await http.get(f"/api/jobs?{query}")
    assert (answer.status_code, answer.json()["status_code"]) == (status, status)
    assert says in answer.json()["detail"]


@pytest.mark.usefixtures("telemetry_forgets")
async def test_a_job_is_started_and_deleted(http: httpx.AsyncClient) -> None:
    uid = (await http.post("/api/jobs", json=body(start=False))).json()["jobUid"]
    assert (await http.post(f"/api/jobs/{uid}/start")).json()["status"] == "queued"
    again = await http.post(f"/api/jobs/{uid}/start")
    assert again.status_code == 409 and "is queued" in again.json()["detail"]
    assert (await http.delete(f"/api/jobs/{uid}")).status_code == 409
    assert (await http.post(f"/api/jobs/{uid}/cancel")).status_code == 200
    gone = await http.delete(f"/api/jobs/{uid}")
    assert (gone.status_code, gone.json()["success"], gone.json()["points"]) == (200, True, 12)
    for answer in (await http.get(f"/api/jobs/{uid}"), await http.delete(f"/api/jobs/{uid}")):
        assert answer.status_code == 404


async def test_a_job_is_paused_resumed_rescheduled_and_tried_again(
    http: httpx.AsyncClient, service: Service
) -> None:
    uid, fence = await service.running()
    job = f"/api/jobs/{uid}"
    assert (await http.post(f"{job}/pause")).json()["wanted"] == "pause"
    await service.checkpoint(uid, fence, 3)
    await service.queue.report(report(uid, fence, Outcome.PAUSED))
    assert (await http.get("/api/jobs/current?status=paused")).json()["jobs"][0]["uid"] == uid
    assert (await http.post(f"{job}/resume")).json()["status"] == "queued"
    changed = await http.patch(job, json={"priority": 4, "deadline": "2100-01-01T00:00:00+02:00"})
    assert (changed.json()["priority"], changed.json()["deadline"]) == (4, "2099-12-31T22:00:00.000Z")
    taken_away = await http.patch(job, json={"deadline": None})
    assert (taken_away.json()["priority"], taken_away.json()["deadline"]) == (4, None)
    times = ("2100-01-01T00:00:00", 4102444800, "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "")
    wrong_ones = [{}, {"priority": 101}, {"priority": None}, {"name": "n"}]
    for wrong in wrong_ones + [{"deadline": time} for time in times]:
        assert (await http.patch(job, json=wrong)).status_code == 422, wrong
    assert (await http.post(f"{job}/retry")).status_code == 409
    assert (await http.post(f"{job}/cancel")).json()["status"] == "cancelled"
    listed = (await http.get(f"{job}/checkpoints")).json()
    assert [one["step"] for one in listed["checkpoints"]] == [3]
    assert listed["best_step"] is None
    again = await http.post(f"{job}/retry", json={"from_checkpoint": 3}, headers={"Idempotency-Key": "once"})
    assert (again.status_code, again.json()["job"]["retryOf"]) == (201, uid)
    same = await http.post(f"{job}/retry", json={"from_checkpoint": 3}, headers={"Idempotency-Key": "once"})
    assert same.content == again.content
    standing = (await http.get(f"/api/jobs/{again.json()['jobUid']}")).json()
    assert (standing["queuePosition"], standing["problems"]) == (1, [])
    events = (await http.get(f"{job}/events")).json()["events"]
    assert [one["rev"] for one in events] == list(range(1, len(events) + 1))
    assert (events[0]["type"], events[-1]["type"]) == ("created", "cancelled")
    for path in ("events", "checkpoints"):
        assert (await http.get(f"/api/jobs/job_none/{path}")).status_code == 404


async def test_the_mode_is_one_of_two(http: httpx.AsyncClient) -> None:
    answer = await http.post("/api/training/mode/automated")
    assert answer.json() == {
        "message": "Training mode set to automated",
        "mode": "automated",
        "reset": True,
    }
    assert (await http.post("/api/jobs", json=body())).json()["job"]["trainingMode"] == "automated"
    wrong = await http.post("/api/training/mode/random")
    assert wrong.status_code == 422
    assert "'manual' or 'automated'" in wrong.json()["detail"]


@pytest.mark.parametrize("text", [rb'"\ud800"', rb'"a\u0000b"', b"1e999", b"[[[]]]", b'{"$gt": ""}'])
@pytest.mark.parametrize("place", ["uid", "learning_rate", "another", r"\ud800"])
async def test_no_value_of_a_hyperparameter_breaks_the_service(
    http: httpx.AsyncClient, text: bytes, place: str
) -> None:
    configuration = b'{"model":{"uid":"m"},"dataset":{"uid":"d"},"hyperparameters":{"%b":%b}}'
    sent = b'{"name":"n","configuration":%b}' % (configuration % (place.encode(), text))
    answer = await http.post("/api/jobs", content=sent, headers={"Content-Type": "application/json"})
    assert answer.status_code in (201, 422), answer.text
