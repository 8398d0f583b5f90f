"""Clients that write all the time and keep what was acknowledged, and one that cannot decide."""

import random
import threading

from tests.chaos.client import PatientClient
from tests.chaos.history import History, Kind


class ChaosClient(threading.Thread):
    """Acts until it is told to stop. `problem` is what ended it before."""

    def __init__(self, name: str, seed: int, url: str) -> None:
        super().__init__(name=name, daemon=True)
        self._chance = random.Random(seed)
        self._client = PatientClient(url)
        self._stopping = threading.Event()
        self.problem: BaseException | None = None

    def run(self) -> None:
        """Act until told to stop."""
        try:
            while not self._stopping.wait(self._pause()):
                self._act()
        except BaseException as error:
            self.problem = error
        finally:
            self._client.close()

    def stop(self) -> None:
        """Let it finish what it is at, then end."""
        self._stopping.set()
        self.join()

    def _pause(self) -> float:
        """Seconds before the next act."""
        raise NotImplementedError

    def _act(self) -> None:
        raise NotImplementedError


class Writer(ChaosClient):
    """Writes, and keeps what was acknowledged."""

    def __init__(self, number: int, seed: int, url: str, dataset: str, history: History) -> None:
        super().__init__(f"w{number}", seed * 1000 + number, url)
        self._dataset = dataset
        self._history = history
        self._count = 0

    def _pause(self) -> float:
        return self._chance.uniform(0.0, 0.1)

    def _act(self) -> None:
        self._count += 1
        writes = (self._job, self._cancelled_job, self._preset, self._saved_dataset)
        write = self._chance.choices(writes, (6, 3, 2, 1))[0]
        write(f"{self.name}-{self._count}")

    def _job(self, name: str) -> None:
        job = self._client.create_job(name, self._dataset, start=False)
        self._history.acknowledged(Kind.JOB, job["uid"], name=name)

    def _cancelled_job(self, name: str) -> None:
        uid = self._client.create_job(name, self._dataset, start=False)["uid"]
        self._history.acknowledged(Kind.JOB, uid, name=name)
        answer = self._client.send("POST", f"/api/jobs/{uid}/cancel")
        # 409: the cancel whose answer was lost has done it.
        assert answer.status_code in (200, 409), answer.text
        self._history.acknowledged(Kind.CANCEL, uid, status="cancelled")

    def _preset(self, name: str) -> None:
        rank = self._chance.randrange(1, 64)
        sent = {"name": name, "hyperparameters": {"lora_r": rank, "lora_alpha": 2 * rank}}
        answer = self._client.send("POST", "/api/hyperparameters", json=sent)
        assert answer.status_code == 201, answer.text
        self._history.acknowledged(Kind.PRESET, name, uid=answer.json()["uid"])

    def _saved_dataset(self, name: str) -> None:
        rows = self._chance.randrange(5, 30)
        saved = self._client.create_dataset(name, rows)
        self._history.acknowledged(Kind.DATASET, saved["uid"], name=name, rows=rows)


class Steerer(ChaosClient):
    """Pauses and resumes one job, over and over, wherever it is; it ends with the job resumed or ended."""

    def __init__(self, uid: str, seed: int, url: str) -> None:
        super().__init__(f"steerer-{uid}", seed, url)
        self._uid = uid
        self.pauses = 0
        """How many were acknowledged."""

    def _pause(self) -> float:
        return self._chance.uniform(0.5, 3.0)

    def _act(self) -> None:
        self.pauses += self._took("pause")
        self._stopping.wait(self._chance.uniform(0.0, 2.0))
        self._took("resume")

    def _took(self, verb: str) -> bool:
        answer = self._client.send("POST", f"/api/jobs/{self._uid}/{verb}")
        # 409: it has ended, or the request whose answer was lost has done it.
        assert answer.status_code in (200, 409), answer.text
        return answer.status_code == 200
