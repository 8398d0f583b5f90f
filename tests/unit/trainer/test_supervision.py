"""A run from claim to report, over a bus and a blob store that are lists in memory, with the real child."""

import asyncio
import hashlib
import json
import os
import signal
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from pymongo.errors import AutoReconnect

from tests.unit.trainer.child_runs import a_run, write_rows
from tunedeck_chassis.blobs import ORPHAN_AGE, Blob
from tunedeck_contracts import rpc
from tunedeck_contracts.cloudevents import Event
from tunedeck_contracts.errors import Fenced, NotFound, Unavailable
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.jobs import Wanted
from tunedeck_contracts.runs import BeatReply, Claimed, Outcome, Report, Reported, Run
from tunedeck_contracts.telemetry import Stored
from tunedeck_trainer.hardware import Hardware
from tunedeck_trainer.journal import Held, Journal
from tunedeck_trainer.reporting import FencedOut
from tunedeck_trainer.runner import Runner
from tunedeck_trainer.settings import TrainerSettings
from tunedeck_trainer.supervision import Supervision
from tunedeck_trainer.surroundings import Surroundings

SHORT = Hyperparameters(max_steps=4, batch_size=4, eval_steps=2)
LONG = Hyperparameters(max_steps=100_000, batch_size=4, eval_steps=1_000_000)


class FakeBus:
    """Answers as jobs and telemetry do; keeps what was published and reported."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.reports: list[Report] = []
        self.claims: list[str] = []
        self.runs: list[Run] = []
        self.wanted = Wanted.RUN
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
        if self.fenced:
            raise Fenced("A newer fence owns the job.")
        if asked is rpc.JOB_BEAT:
            return BeatReply(wanted=self.wanted)
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

    async def read(self, blob_id: str) -> AsyncIterator[bytes]:
        if blob_id not in self.held:
            raise NotFound(f"There is no blob {blob_id!r}.")
        yield self.held[blob_id]

    async def put(
        self, chunks: AsyncIterable[bytes], *, filename: str, keep_for: timedelta | None = None
    ) -> Blob:
        data = b"".join([chunk async for chunk in chunks])
        if self.put_for and self.faults:
            raise self.faults.pop()
        self.put_for.append((filename, keep_for))
        self.held[filename] = data
        return Blob(id=filename, sha256=hashlib.sha256(data).hexdigest(), size=len(data))


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
        self.around = Surroundings(
            settings=self.settings,
            trainer_id="trainer_1",
            device="cpu",
            bus=bus,
            blobs=blobs,
            hardware=Hardware(self.settings.work_dir),
        )
        rows = folder / "rows.jsonl"
        write_rows(rows, 30)
        self.blobs.held["b"] = rows.read_bytes()

    def run(self, settings: Hyperparameters) -> Run:
        run = a_run(settings)
        pinned = hashlib.sha256(self.blobs.held["b"]).hexdigest()
        dataset = run.dataset.model_copy(update={"rows_sha256": pinned})
        return run.model_copy(update={"dataset": dataset, "beat_seconds": 0.1})

    async def until_training(self) -> None:
        await until(lambda: bool(self.bus.of_kind("loss")))


@pytest.fixture
def place(tmp_path: Path, models_dir: Path) -> Iterator[Place]:
    made = Place(tmp_path, models_dir)
    yield made
    made.journal.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while True:
            if true():
                return
            await asyncio.sleep(0.05)


def children() -> list[psutil.Process]:
    return [one for one in psutil.Process().children() if trains(one)]


def trains(process: psutil.Process) -> bool:
    try:
        return "tunedeck_trainer.child" in process.cmdline()
    except psutil.Error:
        return False


async def test_a_run_is_told_stored_and_reported(place: Place) -> None:
    await Supervision(place.run(SHORT), place.around).supervise()
    [report] = place.bus.reports
    assert (report.outcome, report.last_iteration) == (Outcome.COMPLETED, 4)
    assert [one["point"]["iteration"] for one in place.bus.of_kind("loss")] == [1, 2, 3, 4]
    assert [one["line"]["number"] for one in place.bus.of_kind("log")][:2] == [1, 2]
    kinds = [event.id.split(":")[2] for event in place.bus.events]
    assert kinds.index("resources") < kinds.index("loss")
    assert {event.id for event in place.bus.events} >= {"job_1_aaaa:1:loss:1", "job_1_aaaa:1:resources:1"}
    assert {artifact.path for artifact in report.artifacts} >= {"adapter_model.safetensors", "manifest.json"}
    assert (place.settings.adapters_dir / "job_1_aaaa" / "adapter_config.json").is_file()
    assert not (place.settings.work_dir / "job_1_aaaa").exists()


async def test_files_are_stored_once_for_a_while_though_the_store_is_away_in_between(place: Place) -> None:
    place.blobs.faults.append(AutoReconnect("away"))
    await Supervision(place.run(SHORT), place.around).supervise()
    [report] = place.bus.reports
    assert not place.blobs.faults
    assert place.blobs.put_for == [(artifact.path, ORPHAN_AGE) for artifact in report.artifacts]
    assert "manifest.json" in place.blobs.held


async def test_an_outage_of_the_bus_ends_nothing_and_loses_nothing(place: Place) -> None:
    task = asyncio.create_task(Supervision(place.run(SHORT), place.around).supervise())
    place.bus.away = True
    await until(lambda: bool(children()))
    await until(lambda: not children())
    place.bus.away = False
    await asyncio.wait_for(task, 30)
    assert [one["point"]["iteration"] for one in place.bus.of_kind("loss")] == [1, 2, 3, 4]
    assert place.bus.reports[0].outcome is Outcome.COMPLETED


async def test_a_cancel_is_heeded(place: Place) -> None:
    task = asyncio.create_task(Supervision(place.run(LONG), place.around).supervise())
    await place.until_training()
    place.bus.wanted = Wanted.CANCEL
    await asyncio.wait_for(task, 30)
    assert place.bus.reports[0].outcome is Outcome.CANCELLED
    assert place.bus.reports[0].last_iteration == len(place.bus.of_kind("loss"))


async def test_who_is_fenced_out_kills_the_child_and_reports_nothing(place: Place) -> None:
    task = asyncio.create_task(Supervision(place.run(LONG), place.around).supervise())
    await place.until_training()
    place.bus.fenced = True
    with pytest.raises(FencedOut):
        await asyncio.wait_for(task, 10)
    assert children() == []
    assert place.bus.reports == []


async def test_a_child_killed_from_outside_is_a_lost_worker(place: Place) -> None:
    task = asyncio.create_task(Supervision(place.run(LONG), place.around).supervise())
    await place.until_training()
    os.kill(children()[0].pid, signal.SIGKILL)
    await asyncio.wait_for(task, 30)
    assert place.bus.reports[0].outcome is Outcome.LOST


async def test_a_stopping_service_gives_the_job_back(place: Place) -> None:
    task = asyncio.create_task(Supervision(place.run(LONG), place.around).supervise())
    await place.until_training()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children() == []
    assert place.bus.reports[0].outcome is Outcome.LOST


async def test_rows_that_are_not_the_pinned_ones_fail_the_run(place: Place) -> None:
    run = place.run(SHORT)
    place.blobs.held["b"] += b"\n"
    await Supervision(run, place.around).supervise()
    failure = place.bus.reports[0].failure
    assert failure is not None
    assert failure.code == "bad_data"


async def test_a_restarted_trainer_gives_back_what_it_held_and_claims_the_next(place: Place) -> None:
    place.journal.hold(Held(job_uid="job_0_bbbb", fence=7))
    place.bus.runs.append(place.run(SHORT))
    working = asyncio.create_task(Runner(place.around, place.journal, ["cpu"]).run())
    await until(lambda: len(place.bus.reports) == 2 and not place.journal.held)
    working.cancel()
    lost, completed = place.bus.reports
    assert (lost.job_uid, lost.fence, lost.outcome) == ("job_0_bbbb", 7, Outcome.LOST)
    assert completed.outcome is Outcome.COMPLETED


async def test_a_lost_claim_is_asked_again_under_its_own_id(place: Place) -> None:
    answers = iter([Unavailable("Nobody answered."), None])
    claims: list[str] = []

    async def request(asked: rpc.Rpc[Any, Any], message: Any) -> Any:
        claims.append(message.claim_id)
        error = next(answers, None)
        if error is not None:
            raise error
        return Claimed()

    place.bus.request = request  # type: ignore[method-assign]
    working = asyncio.create_task(Runner(place.around, place.journal, ["cpu"]).run())
    await until(lambda: len(claims) >= 3)
    working.cancel()
    assert claims[0] == claims[1] != claims[2]


def test_two_trainers_do_not_share_a_work_folder(place: Place) -> None:
    with pytest.raises(RuntimeError, match="TUNEDECK_WORK_DIR"):
        Journal(place.settings.work_dir)
