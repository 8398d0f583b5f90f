"""The disk that the stack is on fills up: intake stops early, nothing acknowledged is lost, and it heals."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.chaos import reading
from tests.chaos.client import PatientClient, ended
from tests.chaos.history import History, Kind
from tests.chaos.nemesis import Nemesis
from tests.chaos.recovery import measured
from tests.chaos.scale import SHORT_TIMES
from tests.chaos.trainings import event_verdicts
from tests.chaos.verdicts import lost_writes
from tests.e2e.api import rows_csv
from tests.support.servers import wait_for
from tests.support.small_disk import fill, needs_root, small_disk
from tests.support.tiny_model import build_tiny_model
from tunedeck_cli import ports
from tunedeck_cli.home import Home
from tunedeck_cli.stack import Stack

DISK = 640 * 2**20
LEAST_FREE = 64 * 2**20
HEALED_SECONDS = 60
TRAINED_SECONDS = 240
FULL_SECONDS = 8.0

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(900),
    needs_root,
]


@pytest.fixture
def disk() -> Iterator[Path]:
    """A small disk."""
    with small_disk(DISK) as found:
        yield found


@pytest.fixture
def stack(disk: Path, tmp_path: Path) -> Iterator[Stack]:
    """The stack with its home on the small disk, apart from its trainer's folders."""
    home = Home(disk / "home")
    home.create()
    build_tiny_model(tmp_path / "models/local/tiny")
    # The trainer resolves its paths, and those of another mount namespace lead elsewhere.
    folders = {
        f"TUNEDECK_{name.upper()}_DIR": str(tmp_path / name) for name in ("models", "work", "adapters")
    }
    environment = {
        **SHORT_TIMES,
        **folders,
        "TUNEDECK_LEAST_FREE_BYTES": str(LEAST_FREE),
        "HF_HUB_OFFLINE": "1",
    }
    whole = Stack(home, wanted=ports.ANY, environment=environment)
    whole.start()
    yield whole
    whole.stop()


def test_a_full_disk_loses_nothing_and_heals(stack: Stack, disk: Path, tmp_path: Path) -> None:
    client, history = PatientClient(stack.api_url), History(tmp_path / "acknowledged.jsonl")
    dataset = client.create_dataset("Rows", 20)["uid"]
    history.acknowledged(Kind.DATASET, dataset, name="Rows", rows=20)
    uids = [client.create_job(f"kept-{n}", dataset, start=False)["uid"] for n in range(12)]
    for number, uid in enumerate(uids):
        history.acknowledged(Kind.JOB, uid, name=f"kept-{number}")

    with httpx.Client(base_url=stack.api_url, timeout=30) as http:
        fill(disk / "filler", shutil.disk_usage(disk).free - LEAST_FREE // 2)
        _assert_only_intake_is_refused(http, client, dataset, uids[0])
        history.acknowledged(Kind.CANCEL, uids[0], status="cancelled")
        fill(disk / "filler", DISK)
        for uid in uids[1:]:
            if _cancelled(http, uid):
                history.acknowledged(Kind.CANCEL, uid, status="cancelled")
        # As a mongod that finds no room for its journal does by itself.
        Nemesis(stack).kill("mongod")
        time.sleep(FULL_SECONDS)

    (disk / "filler").unlink()
    space_at = time.monotonic()
    history.close()
    reading.told(stack, client, seconds=HEALED_SECONDS)
    measured("healed after a full disk", time.monotonic() - space_at, goal=60)
    uid = client.train("after the full disk", dataset, steps=3)
    job = client.wait(uid, ended, TRAINED_SECONDS)
    assert job["status"] == "completed", job["failure"]
    jobs = reading.all_jobs(client)
    told = reading.told(stack, client)
    said = [
        *lost_writes(history.read(), reading.stored(client, jobs)),
        *(
            line
            for uid, job in jobs.items()
            if job["status"] != "completed"
            for line in event_verdicts(job, told[uid])
        ),
    ]
    assert said == []
    client.close()


def _assert_only_intake_is_refused(http: httpx.Client, client: PatientClient, dataset: str, uid: str) -> None:
    """Nearly full: nothing new is taken in; what is there can be read, and go on."""
    file = {"file": ("rows.csv", rows_csv(3))}
    wait_for("a refusal", lambda: http.post("/api/preview-csv", files=file).status_code == 507)
    job = {"name": "refused", "configuration": {"model": {"uid": "local/tiny"}, "dataset": {"uid": dataset}}}
    refused = http.post("/api/jobs", json=job)
    assert (refused.status_code, refused.json()["error_type"]) == (507, "InsufficientStorage")
    assert "space is freed" in refused.json()["detail"]
    assert client.job(uid)["status"] == "created"
    assert _cancelled(http, uid)


def _cancelled(http: httpx.Client, uid: str) -> bool:
    """Whether a cancel was acknowledged; without room it may not be."""
    try:
        return http.post(f"/api/jobs/{uid}/cancel").status_code == 200
    except httpx.TransportError:
        return False
