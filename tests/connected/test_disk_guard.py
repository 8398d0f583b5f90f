"""The disk guard on a real MongoDB, which tells how full its disk is."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import httpx
import pymongo
import pytest
from fastapi import FastAPI
from pymongo.errors import PyMongoError

from tests.e2e.api import rows_csv
from tunedeck_chassis import disk_guard, mongo
from tunedeck_chassis.disk_guard import DiskGuard
from tunedeck_chassis.mongo import Client
from tunedeck_chassis.presence import Presence
from tunedeck_chassis.settings import ServiceSettings
from tunedeck_contracts.errors import InsufficientStorage, Unavailable
from tunedeck_gateway import errors
from tunedeck_gateway.bridge import Gateway
from tunedeck_gateway.routes import datasets, jobs, uploads

MORE_THAN_ANY_DISK = 2**62


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """MongoDB may take its time, and is believed for as long."""
    monkeypatch.setattr(disk_guard, "ASKING_SECONDS", 30.0)
    monkeypatch.setattr(disk_guard, "BELIEVED_SECONDS", 600.0)


@pytest.fixture
async def client(mongo_url: str) -> AsyncIterator[Client]:
    connected = mongo.connect(ServiceSettings(mongo_url=mongo_url))
    await connected["tunedeck_gateway"]["tickets"].create_index("at")
    yield connected
    await connected.close()


async def test_nothing_is_taken_in_below_the_least_free_bytes(client: Client) -> None:
    await DiskGuard(client["tunedeck_gateway"], 1, Presence()).check()
    with pytest.raises(InsufficientStorage, match="MB left, and 4398046511104 MB are kept free"):
        await _full(client).check()


async def test_freed_space_is_seen(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    guard = DiskGuard(client["tunedeck_gateway"], 1, Presence())
    guard._free, guard._asked_at = 0, time.monotonic()
    with pytest.raises(InsufficientStorage):
        await guard.check()
    monkeypatch.setattr(disk_guard, "BELIEVED_SECONDS", 0.0)
    await guard.check()


async def test_what_was_measured_before_is_no_answer_when_mongodb_gives_none(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = _full(client)
    with pytest.raises(InsufficientStorage):
        await guard.check()
    monkeypatch.setattr(disk_guard, "BELIEVED_SECONDS", 0.0)
    monkeypatch.setattr(disk_guard, "ASKING_SECONDS", 1e-6)
    await guard.check()


async def test_what_was_granted_counts_as_written(client: Client) -> None:
    guard = DiskGuard(client["tunedeck_gateway"], 1, Presence())
    free = await guard._measure()
    assert free is not None
    # Written twice, 0.3 of it takes 0.6.
    await guard.check(int(0.3 * free))
    with pytest.raises(InsufficientStorage, match="MB do not fit until some space is freed"):
        await guard.check(int(0.3 * free))
    await guard.check()


async def test_bytes_are_not_written_on_a_guess(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_guard, "ASKING_SECONDS", 1e-6)
    guard = DiskGuard(client["tunedeck_gateway"], 1, Presence())
    await guard.check()
    with pytest.raises(Unavailable, match="does not tell"):
        await guard.check(1)


async def test_who_comes_while_mongodb_is_asked_waits_for_what_it_says(client: Client) -> None:
    guard = DiskGuard(client["tunedeck_gateway"], 1, Presence())
    guard._free = 0
    await asyncio.gather(guard.check(), guard.check())


async def test_a_database_that_is_away_is_for_others_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_guard, "ASKING_SECONDS", 0.5)
    away = mongo.connect(ServiceSettings(mongo_url="mongodb://127.0.0.1:1"))
    await _full(away).check()
    await away.close()


async def test_nobody_waits_for_a_database_known_to_be_away() -> None:
    presence = Presence()
    away = mongo.connect(ServiceSettings(mongo_url="mongodb://127.0.0.1:1"), presence=presence)
    with contextlib.suppress(PyMongoError), pymongo.timeout(0.5):
        await away.admin.command("ping")
    assert presence.is_away
    # Asked, it would take half a second at the least: PyMongo looks at its time no sooner.
    async with asyncio.timeout(0.25):
        await DiskGuard(away["tunedeck_gateway"], MORE_THAN_ANY_DISK, presence).check()
    await away.close()


def _full(client: Client) -> DiskGuard:
    return DiskGuard(client["tunedeck_gateway"], MORE_THAN_ANY_DISK, Presence())


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/api/preview-csv", {"files": {"file": ("rows.csv", rows_csv(3))}}),
        ("/api/datasets", {"files": {"file": ("rows.csv", rows_csv(3))}}),
        (
            "/api/jobs",
            {"json": {"name": "A job", "configuration": {"model": {"uid": "m"}, "dataset": {"uid": "d"}}}},
        ),
        ("/api/jobs/job_1/retry", {"json": {}}),
    ],
)
async def test_uploads_and_new_jobs_are_refused_with_507(
    client: Client, path: str, sent: dict[str, object]
) -> None:
    app = FastAPI()
    # Refused before anything else is needed: there is no bus, and no place for a file.
    app.state.gateway = Gateway(None, None, None, None, None, None, _full(client))  # type: ignore[arg-type]
    for router in (uploads.router, datasets.router, jobs.router):
        app.include_router(router)
    errors.install(app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        answer = await http.post(path, **sent)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["error_type"]) == (507, "InsufficientStorage")
    assert "nothing new is taken in" in answer.json()["detail"]
