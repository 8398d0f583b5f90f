"""What a former version kept is answered in the present shape, and goes on: nothing is lost by an upgrade."""

import hashlib
from typing import Any

import pytest

from tests.e2e.api import ended, rows_csv
from tests.upgrade.conftest import Upgraded
from tests.upgrade.record import FAILED, RUNNING, STEPS, TRAINED, WAITING

# Each job loads torch, which takes its time where other things run.
pytestmark = pytest.mark.timeout(900)


def kept(former: Any, present: Any, where: str = "") -> list[str]:
    """Where the present answer lacks something of the former one. Keys may have come since."""
    if isinstance(former, dict) and isinstance(present, dict):
        return [
            line
            for key, value in former.items()
            for line in (
                kept(value, present[key], f"{where}.{key}") if key in present else [f"{where}.{key} is gone"]
            )
        ]
    if isinstance(former, list) and isinstance(present, list) and len(former) == len(present):
        pairs = enumerate(zip(former, present, strict=True))
        return [line for n, (old, new) in pairs for line in kept(old, new, f"{where}[{n}]")]
    return [] if former == present else [f"{where} was {former!r} and is {present!r}"]


@pytest.mark.parametrize("name", [TRAINED, FAILED, WAITING])
def test_a_job_that_rests_is_what_it_was(upgraded: Upgraded, name: str) -> None:
    answers = {path: said for path, said in upgraded.answers.items() if upgraded.uids[name] in path}
    assert len(answers) >= 2
    for path, former in answers.items():
        present = upgraded.api.main.get(path)
        assert present.status_code == 200, (path, present.text)
        assert kept(former, present.json()) == [], path


def test_every_answer_of_today_is_there_for_a_job_of_then(upgraded: Upgraded) -> None:
    for name, uid in upgraded.uids.items():
        for route in ("", "/logs", "/events", "/checkpoints"):
            answer = upgraded.api.main.get(f"/api/jobs/{uid}{route}")
            assert answer.status_code == 200, (name, route, answer.text)
    listed = upgraded.api.main.get("/api/jobs", params={"tag": "former"}).json()
    assert {job["uid"] for job in listed["jobs"]} == set(upgraded.uids.values())
    compared = upgraded.api.main.post("/api/jobs/compare", json={"uids": list(upgraded.uids.values())})
    assert compared.status_code == 200, compared.text
    assert upgraded.api.main.get("/api/jobs/export").text.count("job_") >= len(upgraded.uids)
    assert upgraded.api.main.get("/api/jobs/statistics").json()["total"] >= len(upgraded.uids)


def test_the_tuned_model_is_the_one_that_was_trained(upgraded: Upgraded) -> None:
    job = upgraded.api.job(upgraded.uids[TRAINED])
    assert "adapter_model.safetensors" in {artifact["path"] for artifact in job["artifacts"]}
    for artifact in job["artifacts"]:
        content = upgraded.api.main.get(f"/api/jobs/{job['uid']}/artifacts/{artifact['path']}").content
        assert (len(content), hashlib.sha256(content).hexdigest()) == (artifact["size"], artifact["sha256"])


def test_the_live_stream_tells_a_former_job_to_its_end(upgraded: Upgraded) -> None:
    frames, code = upgraded.api.stream(upgraded.uids[TRAINED])
    assert (code, [one["iteration"] for one in frames]) == (1000, [*range(1, STEPS + 1), STEPS])


def test_the_dataset_is_read_and_the_same_file_is_no_new_one(upgraded: Upgraded) -> None:
    uid = upgraded.api.job(upgraded.uids[TRAINED])["configuration"]["dataset"]["uid"]
    shown = upgraded.api.main.get(f"/api/datasets/{uid}")
    assert shown.status_code == 200, shown.text
    listed = upgraded.api.main.get("/api/datasets").json()
    assert uid in {one["uid"] for one in listed}
    rows = upgraded.api.main.get(f"/api/datasets/{uid}/rows", params={"limit": 100}).json()["rows"]
    assert len(rows) == 60 and rows[0]["input"] == "What is 0 plus 0?"
    downloaded = upgraded.api.main.get(f"/api/datasets/{uid}/download").content
    assert downloaded.splitlines() == rows_csv(60).splitlines()
    assert upgraded.api.preview(rows_csv(60)).json()["isNewUpload"] is False


def test_the_job_that_trained_trains_on(upgraded: Upgraded) -> None:
    """Its trainer has gone with the former installation; its points stay until the next attempt has them."""
    api, uid = upgraded.api, upgraded.uids[RUNNING]
    former = upgraded.answers[f"/api/jobs/{uid}"]
    job = api.wait(uid, lambda one: one["attempt"] > former["attempt"] and "live_metrics" in one, 240)
    fixed = ("name", "createdAt", "configuration")
    assert kept({key: former[key] for key in fixed}, job) == []
    losses = api.main.get("/api/training/losses", params={"job_id": uid, "last_n": 1000}).json()
    assert [one["iteration"] for one in losses] == list(range(1, len(losses) + 1)) and losses
    assert api.main.post(f"/api/jobs/{uid}/cancel").status_code == 200
    assert api.wait(uid, ended, 60)["status"] == "cancelled"


def test_jobs_run_through_on_former_data(upgraded: Upgraded) -> None:
    """The one that waited for its model, one that failed and is tried again, and a new one."""
    api = upgraded.api
    started = api.main.post(f"/api/jobs/{upgraded.uids[WAITING]}/start")
    assert started.status_code == 200, started.text
    retried = api.main.post(f"/api/jobs/{upgraded.uids[FAILED]}/retry", json={})
    assert retried.status_code == 201, retried.text
    dataset = api.job(upgraded.uids[TRAINED])["configuration"]["dataset"]["uid"]
    new = api.create_job(dataset, max_steps=4)["jobUid"]
    for uid in (upgraded.uids[WAITING], new):
        done = api.wait(uid, ended, 200)
        assert done["status"] == "completed", done["failure"]
    again = retried.json().get("jobUid") or retried.json()["job"]["uid"]
    assert api.wait(again, ended, 200)["failure"]["code"] == "bad_data", (
        "as the first time: nothing was changed"
    )
    frames, _ = api.stream(new)
    assert [one["iteration"] for one in frames] == [1, 2, 3, 4, 4]
