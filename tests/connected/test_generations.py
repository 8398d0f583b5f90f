"""The line of requests for text, and what a stream tells, over a real NATS and a real blob store."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.answering import answering
from tests.support.servers import provision
from tests.support.tiny_model import build_tiny_model
from tunedeck_chassis.blobs import BlobStore
from tunedeck_chassis.broker import create_broker
from tunedeck_chassis.bus import Bus
from tunedeck_chassis.folder_weights import FolderWeights
from tunedeck_chassis.service import started
from tunedeck_chassis.settings import ServiceSettings
from tunedeck_contracts import rpc
from tunedeck_contracts.datasets import ResolvedDataset
from tunedeck_contracts.errors import Conflict, TooManyRequests, Unavailable
from tunedeck_contracts.generation import (
    GenerateText,
    GenerationEvent,
    GenerationEventType,
    QueuePosition,
    StartGeneration,
)
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.ids import new_stream_id
from tunedeck_contracts.jobs import Status
from tunedeck_contracts.model_saving import StoredArtifact
from tunedeck_contracts.models import ResolvedModel
from tunedeck_contracts.plans import Plan
from tunedeck_contracts.subjects import generation_event
from tunedeck_gateway import token_stream
from tunedeck_gateway.token_stream import Heard
from tunedeck_trainer import generations as line
from tunedeck_trainer.generations import Generations
from tunedeck_trainer.hardware import Hardware
from tunedeck_trainer.pinned_weights import PinnedWeights
from tunedeck_trainer.settings import TrainerSettings
from tunedeck_trainer.surroundings import Surroundings

NO_DISK: Any = None
"""Nothing here is stored."""

pytestmark = pytest.mark.connected

SECONDS = 120
PLACES = 3
MOST_TRIES = 5


def a_plan(status: Status = Status.COMPLETED, artifacts: list[StoredArtifact] | None = None) -> Plan:
    return Plan(
        job_uid="job_1_a",
        model=ResolvedModel(uid="local/tiny", name="tiny", revision="sha256:0", source="folder"),
        dataset=ResolvedDataset(uid="dataset_1_a", name="sums", rows=3, rows_blob="b", rows_sha256="0"),
        hyperparameters=Hyperparameters(),
        status=status,
        artifacts=artifacts or [],
    )


@dataclass
class Trainer:
    """A trainer's line, which says that it has a GPU: nothing is answered while a run trains."""

    bus: Bus
    around: Surroundings
    generations: Generations

    async def ask(self, **asked: Any) -> Heard:
        heard = await Heard.on(self.bus, new_stream_id())
        question = GenerateText(**{"prompt": "Hi", "adapter": False, "max_new_tokens": 5, **asked})
        await self.generations.take(
            StartGeneration(job_uid="job_1_a", stream_id=heard.stream_id, asked=question)
        )
        return heard


async def told(heard: Heard) -> GenerationEvent:
    """The next event that says something."""
    async with asyncio.timeout(SECONDS):
        while (event := await heard.next()).type is GenerationEventType.ALIVE:
            pass
    return event


async def position(heard: Heard) -> QueuePosition | None:
    return (await told(heard)).queued


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    await provision(nats_url)
    broker = create_broker(ServiceSettings(nats_url=nats_url), "trainer")
    async with started(broker):
        yield Bus(broker)


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made before any service runs: one whose event loop stands still ends its process."""
    folder = tmp_path_factory.mktemp("models")
    build_tiny_model(folder / "local/tiny")
    return folder


@pytest.fixture
async def trainer(
    models_dir: Path,
    bus: Bus,
    blobs: BlobStore,
    nats_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Trainer]:
    monkeypatch.setattr(line, "ALIVE_SECONDS", 0.1)
    settings = TrainerSettings(
        models_dir=models_dir,
        work_dir=tmp_path,
        adapters_dir=tmp_path / "adapters",
        generation_places=PLACES,
    )
    weights = PinnedWeights(models_dir)
    around = Surroundings(settings, "trainer_1", "cuda:0", bus, blobs, Hardware(tmp_path), weights, NO_DISK)
    generations = Generations(around)
    running = asyncio.create_task(generations.run())
    pinned = {"revision": FolderWeights(models_dir).revision("local/tiny")}
    plan = a_plan()
    plan = plan.model_copy(update={"model": plan.model.model_copy(update=pinned)})
    async with answering(nats_url, rpc.PLAN_GET, plan):
        yield Trainer(bus, around, generations)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_who_asks_while_a_run_trains_waits_its_turn_and_is_told_its_place(trainer: Trainer) -> None:
    async with trainer.around.turn.training():
        first = await trainer.ask()
        assert await position(first) == QueuePosition(position=1, waits_for="training")
        second, third = await trainer.ask(), await trainer.ask()
        assert await position(second) == QueuePosition(position=1, waits_for="requests")
        assert await position(third) == QueuePosition(position=2, waits_for="requests")
        with pytest.raises(TooManyRequests, match=f"^{PLACES} requests"):
            await trainer.ask()
        # Who goes away while it waits makes room.
        await second.no_more()
        assert await position(third) == QueuePosition(position=1, waits_for="requests")
        fourth = await trainer.ask()
        assert await position(fourth) == QueuePosition(position=2, waits_for="requests")
    # The run is over: here is no GPU, so a CPU answers.
    for heard in (first, third):
        while (event := await told(heard)).type is not GenerationEventType.END:
            assert event.type is GenerationEventType.TOKEN or event.queued is not None


async def test_a_look_at_the_line_that_breaks_once_is_not_the_last(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [RuntimeError("once")]

    def look() -> None:
        if left:
            raise left.pop()

    monkeypatch.setattr(trainer.generations._speaker, "look", look)
    async with trainer.around.turn.training():
        heard = await trainer.ask()
        async with asyncio.timeout(SECONDS):
            while (await heard.next()).type is not GenerationEventType.ALIVE:
                pass
    assert not left


async def test_a_run_that_begins_ends_the_answer_that_is_being_made(trainer: Trainer) -> None:
    for _ in range(MOST_TRIES):
        heard = await trainer.ask(max_new_tokens=480)
        assert (await told(heard)).token is not None
        async with trainer.around.turn.training():
            while (event := await told(heard)).type is GenerationEventType.TOKEN:
                pass
        # An answer that was over before the run began is none that it could end.
        if event.type is not GenerationEventType.END:
            break
    assert event.error is not None
    assert "training run has begun" in event.error.detail


async def test_who_waits_too_long_is_told(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.around.settings, "generation_wait_seconds", 0.3)
    async with trainer.around.turn.training():
        heard = [await trainer.ask(), await trainer.ask()]
        for one in heard:
            while (event := await told(one)).queued is not None:
                pass
            assert event.error is not None
            assert "0.3 s" in event.error.detail


async def test_a_trainer_that_stops_tells_who_waits(trainer: Trainer, bus: Bus) -> None:
    generations = Generations(trainer.around)
    running = asyncio.create_task(generations.run())
    trainer = Trainer(bus, trainer.around, generations)
    async with trainer.around.turn.training():
        heard = [await trainer.ask(), await trainer.ask()]
        for one in heard:
            assert await position(one) is not None
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        for one in heard:
            event = await told(one)
            assert event.error is not None and "stopping" in event.error.detail


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (a_plan(Status.RUNNING), "is running"),
        (a_plan(), "without saving its model"),
        (a_plan(artifacts=[StoredArtifact(path="manifest.json", size=2, sha256="", blob_id="b")]), "without"),
    ],
)
async def test_a_job_without_a_tuned_model_is_refused_with_the_reason(
    bus: Bus, blobs: BlobStore, nats_url: str, tmp_path: Path, plan: Plan, reason: str
) -> None:
    settings = TrainerSettings(work_dir=tmp_path, adapters_dir=tmp_path)
    weights = PinnedWeights(tmp_path)
    around = Surroundings(settings, "t", "cpu", bus, blobs, Hardware(tmp_path), weights, NO_DISK)
    generations = Generations(around)
    asked = StartGeneration(job_uid="job_1_a", stream_id="s", asked=GenerateText(prompt="Hi"))
    async with answering(nats_url, rpc.PLAN_GET, plan):
        with pytest.raises(Conflict, match=reason):
            await generations.take(asked)


async def test_a_base_whose_weights_were_exchanged_does_not_speak(
    trainer: Trainer, models_dir: Path, nats_url: str
) -> None:
    weights = models_dir / "local/tiny/model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole + b" ")
    try:
        event = await told(await trainer.ask())
    finally:
        weights.write_bytes(whole)
    assert event.error is not None and "were exchanged" in event.error.detail


async def test_a_silent_trainer_is_taken_for_dead(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_stream, "SILENCE_SECONDS", 0.2)
    heard = await Heard.on(bus, new_stream_id())
    with pytest.raises(Unavailable, match="Nothing was heard"):
        await heard.next()


@pytest.mark.parametrize("kind", [GenerationEventType.TOKEN, GenerationEventType.ALIVE])
async def test_a_hole_is_found_by_the_next_number(bus: Bus, kind: GenerationEventType) -> None:
    heard = await Heard.on(bus, new_stream_id())
    connection = bus._broker.connection
    for seq in (1, 3):
        sent = GenerationEvent(stream_id=heard.stream_id, seq=seq, type=kind if seq == 3 else "queued")
        await connection.publish(generation_event(heard.stream_id), sent.to_json())
    assert (await heard.next()).seq == 1
    with pytest.raises(Unavailable, match="lost on its way"):
        await heard.next()
