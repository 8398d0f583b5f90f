"""The stack's trainer and another one beside it, told apart by what their journals hold."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.servers import wait_for
from tunedeck_cli.stack import Stack


class Trainer:
    """The stack's own trainer."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._work_dir = stack.home.work

    @property
    def pid(self) -> int:
        """The process id."""
        found = self._stack.supervisor.pid("trainer")
        assert found is not None, "the trainer does not run"
        return found

    def fence_of(self, uid: str) -> int:
        """The newest fence under which it works on the job; 0 for none."""
        journal = self._work_dir / "journal.json"
        held = json.loads(journal.read_text())["held"] if journal.exists() else []
        return max((run["fence"] for run in held if run["job_uid"] == uid), default=0)


class SecondTrainer(Trainer):
    """A process of its own, with a work folder of its own."""

    def __init__(self, stack: Stack, work_dir: Path) -> None:
        super().__init__(stack)
        self._work_dir = work_dir
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start, and wait until it asks for jobs."""
        login = self._stack.home.login("trainer")
        environment = {**os.environ, **self._stack.service_environment(), **login}
        environment["TUNEDECK_WORK_DIR"] = str(self._work_dir)
        bound = [sys.executable, "-m", "tunedeck_cli.bound", sys.executable, "-m", "tunedeck_trainer"]
        self._work_dir.mkdir(parents=True)
        with (self._work_dir / "log").open("wb") as log:
            self._process = subprocess.Popen(bound, env=environment, stdout=log, stderr=log)
        wait_for("the second trainer", lambda: b'"started"' in (self._work_dir / "log").read_bytes())

    def stop(self) -> None:
        """SIGTERM, and wait."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
