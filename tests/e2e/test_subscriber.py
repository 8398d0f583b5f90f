"""The subscriber of examples/ runs as it stands, and hears a job from its creation to its end."""

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.api import Api, ended, rows_csv

SUBSCRIBER = Path(__file__).parents[2] / "examples" / "subscriber.py"
STEPS = 3
HEARD_WITHIN = 30


class Lines:
    """What a process prints, line by line as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._lines.put(line.strip())

    def next(self) -> str:
        """The next line; fails when none comes."""
        return self._lines.get(timeout=HEARD_WITHIN)


@pytest.fixture
def lines(stack: Any) -> Iterator[Lines]:
    """The subscriber as the user who may listen and nothing else, once it listens."""
    seed = stack.stack.home.secrets / "observer" / "tunedeck_nats_nkey_seed"
    environment = {**os.environ, "NATS_URL": stack.stack.nats_url, "NATS_NKEY": str(seed)}
    command = [sys.executable, str(SUBSCRIBER)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        heard = Lines(process)
        assert heard.next() == f"Listening to {stack.stack.nats_url}"
        yield heard
        process.terminate()
        process.wait()


def test_it_hears_a_job_from_its_creation_to_its_end(api: Api, lines: Lines) -> None:
    dataset = api.preview(rows_csv(20)).json()["upload_id"]
    uid = api.create_job(dataset, max_steps=STEPS, validation_rows=2)["jobUid"]
    assert api.wait(uid, ended, 120)["status"] == "completed"
    told, points = [], []
    while told[-1:] != ["completed"]:
        _, of, what, *loss = lines.next().split()
        if of == uid:
            (points if loss else told).append(what)
    assert [one for one in told if one != "checkpointed"] == ["created", "queued", "started", "completed"]
    assert set(points) <= {f"{number}/{STEPS}" for number in range(1, STEPS + 1)} and points
