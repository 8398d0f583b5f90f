"""A dataset's life over all processes, and the jobs that need it."""

from tests.e2e.api import Api, ended, rows_csv


def test_a_dataset_stays_while_a_job_needs_it_and_is_gone_after(api: Api) -> None:
    form = {"name": "Needed rows", "tags": "sums"}
    created = api.main.post("/api/datasets", files={"file": ("rows.csv", rows_csv(12))}, data=form)
    assert created.status_code == 201, created.text
    uid = created.json()["uid"]
    body = {
        "name": "Waits",
        "configuration": {"model": {"uid": "local/tiny"}, "dataset": {"uid": uid}},
        "start": False,
    }
    job = api.main.post("/api/jobs", json=body).json()["jobUid"]

    needed = api.main.delete(f"/api/datasets/{uid}")
    assert needed.status_code == 409, needed.text
    assert job in needed.json()["detail"]
    assert api.main.get(f"/api/datasets/{uid}").status_code == 200

    assert api.main.post(f"/api/jobs/{job}/cancel").status_code == 200
    api.wait(job, ended, 30)
    gone = api.main.delete(f"/api/datasets/{uid}")
    assert gone.status_code == 200, gone.text
    assert gone.json()["removed"]["rows"] == 12
    assert api.main.get(f"/api/datasets/{uid}").status_code == 404


def test_token_lengths_by_the_bundled_model(api: Api) -> None:
    model = "HuggingFaceTB/SmolLM2-135M-Instruct"
    preview = api.preview(rows_csv(20), model=model)
    assert preview.status_code == 200, preview.text
    found = preview.json()["token_statistics"]
    assert (found["model"], found["rows"], found["over_max_length"]) == (model, 20, 0)
    saved = api.main.post("/api/datasets", json={"upload_id": preview.json()["upload_id"], "name": "Sums"})
    query = {"model": model, "max_length": found["total"]["max"] - 1}
    again = api.main.get(f"/api/datasets/{saved.json()['uid']}/tokens", params=query)
    assert again.status_code == 200, again.text
    assert again.json()["total"] == found["total"]
    assert again.json()["over_max_length"] > 0
