"""Both OpenAPI documents against the running stack: thousands of requests, drawn from what they say."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.scale import IS_LONG
from tests.e2e.api import Api, rows_csv

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
EXAMPLES = 100 if IS_LONG else 25
LONGEST_RUN_SECONDS = 1500


@pytest.fixture
def something_there(api: Api) -> Iterator[None]:
    """A dataset and jobs to ask for; what the requests have started is cancelled afterwards."""
    upload = api.preview(rows_csv(20)).json()["upload_id"]
    assert api.main.post("/api/datasets", json={"upload_id": upload, "name": "Rows"}).status_code == 201
    uid = api.create_job(upload, max_steps=2)["jobUid"]
    api.wait(uid, lambda job: job["status"] == "completed", 240)
    yield
    for job in api.main.get("/api/jobs/current").json()["jobs"]:
        api.main.post(f"/api/jobs/{job['uid']}/cancel")
    api.monitor.post("/api/training/mode/manual")


@pytest.mark.timeout(LONGEST_RUN_SECONDS)
@pytest.mark.parametrize("port", ["main", "monitor"])
def test_no_request_is_answered_otherwise_than_the_document_says(
    api: Api, something_there: None, tmp_path: Path, port: str
) -> None:
    client = api.main if port == "main" else api.monitor
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION)),
            *("run", str(client.base_url.join("/openapi.json")), "--no-color"),
            *("--max-examples", str(EXAMPLES)),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LONGEST_RUN_SECONDS,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
