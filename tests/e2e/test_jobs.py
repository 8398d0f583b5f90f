"""Jobs over all processes: one job from fifty requests, the best settings, a deletion that leaves nothing."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.e2e.api import Api, ended, rows_csv

# Two trainings may come before the one that is waited for, and each loads torch.
pytestmark = pytest.mark.timeout(600)

STEPS = 4


@pytest.fixture(scope="module")
def finished(api: Api) -> dict[str, Any]:
    """A job that has trained a few steps."""
    upload = api.preview(rows_csv(40)).json()["upload_id"]
    uid = api.create_job(upload, max_steps=STEPS, batch_size=2, eval_steps=STEPS, validation_rows=4)["jobUid"]
    job = api.wait(uid, ended, 400)
    assert job["status"] == "completed", job["failure"]
    return job


def test_fifty_requests_with_one_key_make_one_job_and_save_the_upload_once(api: Api) -> None:
    upload = api.preview(rows_csv(43)).json()["upload_id"]
    before = len(api.main.get("/api/datasets").json())
    sent = {
        "name": "Fifty times",
        "start": False,
        "configuration": {"model": {"uid": "local/tiny"}, "dataset": {"uid": upload}},
    }

    async def post_all() -> list[httpx.Response]:
        headers = {"Idempotency-Key": "fifty"}
        async with httpx.AsyncClient(base_url=api.main.base_url, timeout=60, headers=headers) as client:
            return await asyncio.gather(*(client.post("/api/jobs", json=sent) for _ in range(50)))

    answers = asyncio.run(post_all())
    assert {answer.status_code for answer in answers} == {201}, answers[0].text
    assert len({answer.content for answer in answers}) == 1
    found = api.main.get("/api/jobs", params={"q": "fifty times"}).json()["jobs"]
    assert [job["uid"] for job in found] == [answers[0].json()["jobUid"]]
    assert len(api.main.get("/api/datasets").json()) == before + 1
    started = api.main.post(f"/api/jobs/{found[0]['uid']}/start")
    assert (started.status_code, started.json()["status"]) == (200, "queued")
    # The other tests' job need not wait for it.
    api.main.post(f"/api/jobs/{found[0]['uid']}/cancel")


def test_the_best_settings_are_a_completed_jobs(api: Api, finished: dict[str, Any]) -> None:
    dataset = finished["configuration"]["dataset"]["uid"]
    best = api.main.get("/api/hyperparameters/best", params={"mode": "manual", "dataset": dataset}).json()
    assert best["job_uid"] == finished["uid"]
    assert best["uid"] == finished["configuration"]["hyperparameters"]["uid"]
    assert best["validation_loss"] == finished["result"]["validationLossAfter"]


def test_a_deleted_job_is_gone_everywhere_at_once(api: Api, finished: dict[str, Any]) -> None:
    uid = finished["uid"]
    file = f"/api/jobs/{uid}/artifacts/{finished['artifacts'][0]['path']}"
    logs = api.main.get(f"/api/jobs/{uid}/logs").json()["lines"]
    assert api.main.get(file).status_code == 200
    gone = api.main.delete(f"/api/jobs/{uid}")
    assert gone.status_code == 200, gone.text
    said = gone.json()
    assert said["artifacts"] == len(finished["artifacts"])
    assert said["artifactBytes"] == sum(one["size"] for one in finished["artifacts"])
    assert said["points"] >= STEPS + len(logs)
    for path in (f"/api/jobs/{uid}", f"/api/jobs/{uid}/logs", file, f"/api/training/status/{uid}"):
        assert api.main.get(path).status_code == 404, path
    for path in ("losses", "losses/current", "resources", "resources/current", "summary"):
        answer = api.monitor.get(f"/api/training/{path}", params={"job_id": uid})
        assert answer.status_code == 404, path
    assert api.stream(uid)[1] == 4404
    assert uid not in [job["uid"] for job in api.main.get("/api/jobs").json()["jobs"]]
