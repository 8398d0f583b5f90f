"""Parts are away for a while: training goes on, and the API bridges what is short and says what is away."""

import threading
import time
from collections.abc import Callable
from datetime import datetime

import httpx
import pytest

from tests.chaos import reading
from tests.chaos.client import PatientClient, ended, trains
from tests.chaos.nemesis import Nemesis
from tests.chaos.recovery import jetstream_answers, measured
from tests.chaos.scale import IS_LONG, LEASE_SECONDS
from tests.chaos.verdicts import wrong_points
from tests.support.servers import wait_for
from tunedeck_cli.stack import Stack
from tunedeck_contracts.events import JobEventType

OUTAGE_SECONDS = 60.0 if IS_LONG else 1.5 * LEASE_SECONDS
ENDLESS = 100_000
BRIDGED_SECONDS = 2.0
ASKED = 5

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200 if IS_LONG else 900)]


def test_training_goes_on_without_jobs_nats_and_mongodb(
    chaos_stack: Stack, client: PatientClient, nemesis: Nemesis, dataset: str
) -> None:
    uid = client.train("without anyone", dataset, steps=ENDLESS)
    client.wait(uid, trains, 240)
    with nemesis.away("jobs", "nats", "mongod"):
        gone_at = time.time()
        time.sleep(OUTAGE_SECONDS)
        back_at = time.time()
    step = client.job(uid)["training"]["currentStep"]
    client.wait(uid, lambda job: job["training"]["currentStep"] > step, 120)
    client.send("POST", f"/api/jobs/{uid}/cancel")
    job = client.wait(uid, ended, 120)
    assert (job["status"], job["attempt"]) == ("cancelled", 1), job["failure"]
    [end] = [
        event for event in reading.told(chaos_stack, client, uid)[uid] if event.type is JobEventType.CANCELLED
    ]
    last = end.last_iteration or 0
    points = reading.points(client, uid, last)
    assert wrong_points(uid, [point["iteration"] for point in points], last) == []
    taken = [datetime.fromisoformat(point["timestamp"]).timestamp() for point in points]
    assert any(gone_at < at < back_at for at in taken), "no step was done meanwhile"


class Reader(threading.Thread):
    """Reads all the time, and keeps what is not a 200, with when it came."""

    def __init__(self, url: str, path: str) -> None:
        super().__init__(daemon=True)
        self._http = httpx.Client(base_url=url, timeout=15)
        self._path = path
        self._stopping = threading.Event()
        self.count = 0
        self.failed: list[httpx.Response] = []

    def run(self) -> None:
        while not self._stopping.wait(0.05):
            answer = self._http.get(self._path)
            self.count += 1
            if answer.status_code != 200:
                self.failed.append(answer)

    def stop(self) -> None:
        self._stopping.set()
        self.join()
        self._http.close()


@pytest.mark.parametrize(
    ("program", "named", "goal"),
    [("nats", "NATS", 1), ("jobs", "jobs", BRIDGED_SECONDS)],
    ids=["nats", "jobs"],
)
def test_a_short_restart_is_not_seen_by_who_reads(
    chaos_stack: Stack,
    client: PatientClient,
    nemesis: Nemesis,
    dataset: str,
    program: str,
    named: str,
    goal: float,
) -> None:
    uid = client.create_job("read all the time", dataset, start=False)["uid"]
    reader = Reader(chaos_stack.api_url, f"/api/jobs/{uid}")
    reader.start()
    wait_for("reads", lambda: reader.count > ASKED)
    former = nemesis.pid(program)
    assert former is not None
    killed_at = time.monotonic()
    nemesis.kill(program)
    nemesis.until_replaced(program, former)
    if program == "nats":
        jetstream_answers(chaos_stack)
        measured("NATS usable after a kill", time.monotonic() - killed_at, goal=goal)
    client.job(uid)
    outage = time.monotonic() - killed_at
    measured(f"jobs can be read again after a kill of {program}", outage, goal=BRIDGED_SECONDS)
    read_before = reader.count
    wait_for("reads after it", lambda: reader.count > read_before + ASKED)
    reader.stop()
    # On a machine so busy that not all was back in time, they are told what is away.
    assert not reader.failed or outage > goal
    for answer in reader.failed:
        assert_told(answer, named)


@pytest.mark.parametrize(
    ("program", "named"),
    [("nats", "NATS"), ("jobs", "jobs"), ("mongod", "jobs")],
    ids=["nats", "jobs", "mongod"],
)
def test_a_longer_outage_is_told_with_what_is_away(
    chaos_stack: Stack, client: PatientClient, nemesis: Nemesis, dataset: str, program: str, named: str
) -> None:
    uid = client.create_job(f"read without {program}", dataset, start=False)["uid"]
    reader = Reader(chaos_stack.api_url, f"/api/jobs/{uid}")
    reader.start()
    with httpx.Client(base_url=chaos_stack.api_url, timeout=30) as http:

        def read() -> httpx.Response:
            return http.get(f"/api/jobs/{uid}")

        with nemesis.away(program):
            # The first ones may still be bridged.
            wait_for("a refusal", lambda: read().status_code == 503)
            for _ in range(ASKED):
                answer, seconds = _timed(read)
                assert_told(answer, named)
                measured("503 in an outage that is known", seconds, goal=1)

            def start() -> httpx.Response:
                return http.post(f"/api/jobs/{uid}/start")

            wait_for("a refusal of a write", lambda: start().status_code == 503)
            answer, seconds = _timed(start)
            assert_told(answer, named)
            measured("503 to a write in an outage that is known", seconds, goal=1)
        assert client.job(uid)["uid"] == uid
    reader.stop()
    assert {answer.status_code for answer in reader.failed} == {503}


def assert_told(answer: httpx.Response, named: str) -> None:
    """503 in the one form of errors, with when to come again and what is away."""
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert named in answer.json()["detail"] or "database" in answer.json()["detail"]


def _timed(read: Callable[[], httpx.Response]) -> tuple[httpx.Response, float]:
    began = time.monotonic()
    return read(), time.monotonic() - began
