"""`python -m tests.images.tiny_job URL KEY`: what a user does, with a key; prints the job at its end."""

import json
import sys
import time
from typing import Any

import httpx

from tests.e2e.api import Api, ended, rows_csv

SECONDS = 240.0
LOOK_SECONDS = 1.0
"""The limits are on: 1,000 requests an hour."""


def main(url: str, key: str) -> None:
    """Upload, train, and read the points."""
    assert httpx.get(f"{url}/api/jobs").status_code == 401
    api = Api(url, url)
    api.main.headers["Authorization"] = f"Bearer {key}"
    upload = api.preview(rows_csv(12))
    assert upload.status_code == 200, upload.text
    created = api.create_job(upload.json()["upload_id"], max_steps=3, max_length=64, validation_rows=2)
    done = _at_its_end(api, created["jobUid"])
    losses = api.main.get("/api/training/losses", params={"job_id": done["uid"]})
    assert losses.status_code == 200, losses.text
    health = api.main.get("/api/health").json()
    print(json.dumps({"job": done, "losses": losses.json(), "health": health}))


def _at_its_end(api: Api, uid: str) -> dict[str, Any]:
    deadline = time.monotonic() + SECONDS
    while not ended(job := api.job(uid)):
        assert time.monotonic() < deadline and job["status"] != "created", json.dumps(job, indent=1)
        time.sleep(LOOK_SECONDS)
    return job


if __name__ == "__main__":
    main(*sys.argv[1:])
