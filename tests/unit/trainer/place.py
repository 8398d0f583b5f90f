"""A trainer in a folder: its bus and blob store are lists in memory, its child is the real one."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterable, AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
from pymongo.errors import AutoReconnect

from tests.unit.trainer.child_runs import a_run, write_rows
from tunedeck_chassis.blobs import Blob
from tunedeck_chassis.folder_weights import FolderWeights
from tunedeck_contracts import rpc
from tunedeck_contracts.checkpoints import Checkpoint, CheckpointRegistered
from tunedeck_contracts.cloudevents import Event
from tunedeck_contracts.errors import Fenced, InsufficientStorage, NotFound, Unavailable
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.jobs import Wanted
from tunedeck_contracts.runs import Beat, BeatReply, Claimed, Report, Reported, Run
from tunedeck_contracts.telemetry import Stored
from tunedeck_trainer.hardware import Hardware
from tunedeck_trainer.journal import Journal
from tunedeck_trainer.pinned_weights import PinnedWeights
from tunedeck_trainer.settings import TrainerSettings
from tunedeck_trainer.surroundings import Surroundings

SHORT = Hyperparameters(max_steps=4, batch_size=4, eval_steps=2)
LONG = Hyperparameters(max_steps=100_000, batch_size=4, eval_steps=1_000_000)
DEAD_SECONDS = 30


class FakeBus:
    """Answers as jobs and telemetry do; keeps what was published and reported."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.reports: list[Report] = []
        self.claims: list[str] = []
        self.beats: list[Beat] = []
        self.registered: list[Checkpoint] = []
        self.jobs_away = False
        self.runs: list[Run] = []
        self.wanted = Wanted.RUN
        self.wanted_at_checkpoint: Wanted | None = None
        self.fenced = False
        self.away = False

    async def publish(self, event: Event) -> None:
        if self.away:
            raise Unavailable("NATS is away.")
        self.events.append(event)

    async def subscribe(self, subject: str, callback: Any) -> "FakeBus":
        return self

    async def unsubscribe(self) -> None:
        pass

    async def request(self, asked: rpc.Rpc[Any, Any], message: Any) -> Any:
        if self.away:
            raise Unavailable("NATS is away.")
        if asked is rpc.STORED_GET:
            return self.stored()
        if asked is rpc.JOB_CLAIM:
            self.claims.append(message.claim_id)
            return Claimed(run=self.runs.pop(0) if self.runs else None)
        if self.jobs_away:
            raise Unavailable("jobs is away.")
        if self.fenced:
            raise Fenced("A newer fence owns the job.")
        if asked is rpc.JOB_BEAT:
            self.beats.append(message)
            return BeatReply(wanted=self.wanted)
        if asked is rpc.JOB_CHECKPOINT_REGISTER:
            assert message.fence == message.checkpoint.fence
            self.registered.append(message.checkpoint)
            self.wanted = self.wanted_at_checkpoint or self.wanted
            return CheckpointRegistered()
        self.reports.append(message)
        return Reported()

    def stored(self) -> Stored:
        numbers = {kind: len(self.of_kind(kind)) for kind in ("loss", "resources", "log")}
        return Stored(losses=numbers["loss"], resources=numbers["resources"], logs=numbers["log"])

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [json.loads(event.data) for event in self.events if event.id.split(":")[2] == kind]


class FakeBlobs:
    """Blobs in a dict."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.put_for: list[tuple[str, timedelta | None]] = []
        self.faults: list[Exception] = []
        self.away = False

    async def read(self, blob_id: str) -> AsyncIterator[bytes]:
        if blob_id not in self.held:
            raise NotFound(f"There is no blob {blob_id!r}.")
        yield self.held[blob_id]

    async def put(
        self, chunks: AsyncIterable[bytes], *, filename: str, keep_for: timedelta | None = None
    ) -> Blob:
        data = b"".join([chunk async for chunk in chunks])
        if self.away:
            raise AutoReconnect("away")
        if self.put_for and self.faults:
            raise self.faults.pop()
        self.put_for.append((filename, keep_for))
        self.held[filename] = data
        return Blob(id=filename, sha256=hashlib.sha256(data).hexdigest(), size=len(data))


class FakeDisk:
    """Refuses what is larger than the room on it."""

    def __init__(self) -> None:
        self.room = 2**40
        self.refused = 0

    async def check(self, needed: int = 0) -> None:
        if needed > self.room:
            self.refused += 1
            raise InsufficientStorage("The database's disk has no room.")


class Place:
    """A trainer's surroundings in a folder."""

    def __init__(self, folder: Path, models_dir: Path) -> None:
        self.bus, self.blobs = FakeBus(), FakeBlobs()
        self.settings = TrainerSettings(
            models_dir=models_dir,
            work_dir=folder / "work",
            adapters_dir=folder / "adapters",
            torch_threads=1,
            sample_seconds=0.2,
            claim_seconds=0.2,
            drain_seconds=5,
        )
        self.journal = Journal(self.settings.work_dir)
        bus: Any = self.bus
        blobs: Any = self.blobs
        self.disk = FakeDisk()
        disk: Any = self.disk
        self.around = Surroundings(
            settings=self.settings,
            trainer_id="trainer_1",
            device="cpu",
            bus=bus,
            blobs=blobs,
            hardware=Hardware(self.settings.work_dir),
            weights=PinnedWeights(models_dir),
            disk=disk,
        )
        rows = folder / "rows.jsonl"
        write_rows(rows, 30)
        self.blobs.held["b"] = rows.read_bytes()

    def run(self, settings: Hyperparameters, fence: int = 1) -> Run:
        run = a_run(settings, fence=fence)
        pinned = hashlib.sha256(self.blobs.held["b"]).hexdigest()
        dataset = run.dataset.model_copy(update={"rows_sha256": pinned})
        weights = FolderWeights(self.settings.models_dir).revision(run.model.uid)
        model = run.model.model_copy(update={"revision": weights})
        return run.model_copy(update={"dataset": dataset, "model": model, "beat_seconds": 0.1})

    async def until_training(self) -> None:
        await until(lambda: bool(self.bus.of_kind("loss")))


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(240):
        while True:
            if true():
                return
            await asyncio.sleep(0.05)


def children() -> list[psutil.Process]:
    return [one for one in psutil.Process().children() if trains(one)]


def lives(pid: int) -> bool:
    """Whether there is such a process; one that nobody has waited for yet is dead."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def trains(process: psutil.Process) -> bool:
    try:
        return "tunedeck_trainer.child" in process.cmdline()
    except psutil.Error:
        return False
