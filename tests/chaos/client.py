"""A client that does what a careful program does: it sends again what was not answered, until it is."""

import time
from collections.abc import Callable
from typing import Any

import httpx

from tests.e2e.api import rows_csv

STEPS = 30
PATIENCE_SECONDS = 90.0
TRAINS_SECONDS = 240.0
MOST_TRIES = 5
_AGAIN = (429, 502, 503, 504)
_NO_DATA = '"Training data not available"'


class NotAnswered(AssertionError):
    """The API did not recover within the time that the test gives it."""


class PatientClient:
    """HTTP, sent again after a lost connection or a 503. What makes something takes an Idempotency-Key.

    That there is no data yet is a 503 too, and an answer.
    """

    def __init__(self, url: str, patience: float = PATIENCE_SECONDS) -> None:
        self._http = httpx.Client(base_url=url, timeout=15)
        self._patience = patience

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(self, method: str, path: str, **what: Any) -> httpx.Response:
        """The answer.

        Raises:
            NotAnswered: there was none but refusals for now.
        """
        deadline = time.monotonic() + self._patience
        while True:
            try:
                answer = self._http.request(method, path, **what)
                if answer.status_code not in _AGAIN or _NO_DATA in answer.text:
                    return answer
                said = answer.text
            except httpx.TransportError as error:
                said = repr(error)
            if time.monotonic() > deadline:
                raise NotAnswered(f"{method} {path} for {self._patience} s: {said}")
            time.sleep(0.1)

    def read(self, path: str, **query: Any) -> Any:
        """What a GET answers; fails unless it is 200."""
        answer = self.send("GET", path, params=query)
        assert answer.status_code == 200, f"GET {path}: {answer.text}"
        return answer.json()

    def upload(self, rows: int) -> str:
        """The id of a new upload."""
        answer = self.send("POST", "/api/preview-csv", files={"file": ("rows.csv", rows_csv(rows))})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["upload_id"])

    def create_dataset(self, name: str, rows: int) -> dict[str, Any]:
        """A saved dataset. Sent again after a lost answer, it may be there twice."""
        file = {"file": ("rows.csv", rows_csv(rows))}
        answer = self.send("POST", "/api/datasets", files=file, data={"name": name})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def create_job(self, name: str, dataset: str, *, start: bool = True, **settings: Any) -> dict[str, Any]:
        """The job of this name, made once."""
        body = {
            "name": name,
            "start": start,
            "configuration": {
                "model": {"uid": "local/tiny"},
                "dataset": {"uid": dataset},
                "hyperparameters": settings,
            },
        }
        answer = self.send("POST", "/api/jobs", json=body, headers={"Idempotency-Key": name})
        assert answer.status_code == 201, answer.text
        return dict(answer.json()["job"])

    def train(self, name: str, dataset: str, steps: int = STEPS, **settings: Any) -> str:
        """The uid of a job that trains so many steps, the same in each job of the same length."""
        fixed = {
            "max_steps": steps,
            "batch_size": 2,
            # It trains for some seconds: long enough to be struck meanwhile.
            "gradient_accumulation_steps": 8,
            "eval_steps": steps,
            "validation_rows": 4,
            "save_steps": max(7, steps // 4),
        }
        return str(self.create_job(name, dataset, **fixed, **settings)["uid"])

    def seen_training(self, name: str, dataset: str) -> str:
        """The uid of a job that trains; one that was over before it was seen so is followed by another."""
        for number in range(MOST_TRIES):
            uid = self.train(f"{name}, {number}", dataset)
            job = self.wait(uid, lambda job: trains(job) or ended(job), TRAINS_SECONDS)
            if trains(job):
                return uid
        raise AssertionError(f"{MOST_TRIES} jobs were over before they were seen to train: {job}")

    def job(self, uid: str) -> dict[str, Any]:
        """One job."""
        return dict(self.read(f"/api/jobs/{uid}"))

    def wait(self, uid: str, reached: Callable[[dict[str, Any]], bool], seconds: float) -> dict[str, Any]:
        """The job once it is as wanted."""
        deadline = time.monotonic() + seconds
        while not reached(job := self.job(uid)):
            assert time.monotonic() < deadline, f"after {seconds} s: {job}"
            time.sleep(0.1)
        return job

    def losses(self, uid: str) -> list[dict[str, Any]]:
        """The job's loss points; none before telemetry has the first, or has heard of the job."""
        answer = self.send("GET", "/api/training/losses", params={"job_id": uid, "last_n": 10_000})
        if answer.status_code in (404, 503):
            return []
        assert answer.status_code == 200, answer.text
        return list(answer.json())


def ended(job: dict[str, Any]) -> bool:
    """Whether the job is in a state that it stays in."""
    return job["status"] in ("completed", "failed", "cancelled")


def trains(job: dict[str, Any]) -> bool:
    """Whether a trainer has the job and has told a step of it."""
    return job["status"] == "running" and job["training"]["currentStep"] > 0
