"""The jobs service on real servers, with a stand-in for the catalog only."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import nats

from tests.support.servers import provision
from tunedeck_chassis.blobs import ORPHAN_AGE
from tunedeck_chassis.service import started
from tunedeck_contracts import subjects
from tunedeck_contracts.checkpoints import Checkpoint, RegisterCheckpoint, StoredBlob
from tunedeck_contracts.datasets import ResolvedDataset
from tunedeck_contracts.estimates import BatchSplit, Estimate, Probed, Range
from tunedeck_contracts.events import JobEvent
from tunedeck_contracts.failures import FailureCode, failure
from tunedeck_contracts.jobs import JobCreated, Phase, Result, SubmitJob, Wanted
from tunedeck_contracts.message import utc_now
from tunedeck_contracts.model_saving import StoredArtifact
from tunedeck_contracts.models import ResolvedModel
from tunedeck_contracts.runs import Beat, Claim, Outcome, Report
from tunedeck_contracts.streams import JOBS
from tunedeck_jobs.app import JobsService
from tunedeck_jobs.resolving import Resolution
from tunedeck_jobs.settings import JobsSettings

MODEL = ResolvedModel(uid="local/tiny", name="Tiny", revision="sha256:0", source="folder")
DATASET = ResolvedDataset(uid="dataset_1", name="Rows", rows=10, rows_blob="blob", rows_sha256="0")
FOUND = Resolution(MODEL, DATASET)
NO_MODEL = Resolution(None, DATASET, ("model: There is no such model.",))
FAILURE = failure(FailureCode.USER_CODE, "It broke.")


class FixedResolver:
    """Stands for the catalog: the resolution itself is tested with the catalog."""

    def __init__(self) -> None:
        self.answer = FOUND

    async def resolve(self, model: str, dataset: str, revision: str | None = None) -> Resolution:
        return self.answer


class Service(JobsService):
    """The service with its questions to the catalog answered here."""

    resolver: FixedResolver  # type: ignore[assignment]

    async def create(self, **more: object) -> JobCreated:
        return await self.creation.create(request(**more))

    async def events(self, uid: str) -> list[JobEvent]:
        """Publish the outbox, then read the job's events back from the stream."""
        await self.relay.publish_pending()
        async with await nats.connect(self.settings.nats_url) as connection:
            subject = subjects.job_event(uid)
            state = (await connection.jetstream().stream_info(JOBS.name, subjects_filter=subject)).state
            subscription = await connection.jetstream().subscribe(subject, ordered_consumer=True)
            return [
                JobEvent.model_validate_json((await subscription.next_msg(timeout=20)).data)
                for _ in range((state.subjects or {}).get(subject, 0))
            ]

    async def running(self, **more: object) -> tuple[str, int]:
        """A job that a trainer has taken up, and its fence."""
        created = await self.create(**more)
        run = (await self.queue.claim(claim())).run
        assert run is not None and run.job_uid == created.job_uid
        return run.job_uid, run.fence

    async def beat(self, uid: str, fence: int, **more: Any) -> Wanted:
        """What a person wants of a run that says that it lives."""
        return (await self.queue.beat(Beat(job_uid=uid, fence=fence, phase=Phase.TRAINING, **more))).wanted

    async def checkpoint(self, uid: str, fence: int, step: int, loss: float | None = None) -> Checkpoint:
        """A run's checkpoint, stored as a trainer stores it and registered."""
        made = await self.stored_checkpoint(fence, step, loss)
        await self.checkpoints.register(RegisterCheckpoint(job_uid=uid, fence=fence, checkpoint=made))
        return made

    async def stored_checkpoint(self, fence: int, step: int, loss: float | None = None) -> Checkpoint:
        """A checkpoint whose file expires unless it is registered."""

        async def pieces() -> AsyncIterator[bytes]:
            yield b"state of step %d" % step

        blob = await self.blobs.put(pieces(), filename="checkpoint", keep_for=ORPHAN_AGE)
        stored = StoredBlob(id=blob.id, sha256=blob.sha256, bytes=blob.size)
        return Checkpoint(
            step=step,
            iteration=step,
            fence=fence,
            blob=stored,
            validation_loss=loss,
            created_at=utc_now(),
        )

    async def file_of(self, checkpoint: Checkpoint) -> str:
        """Whether a checkpoint's file is 'kept', 'expiring' or 'gone'."""
        files = self.client[f"{self.settings.jobs_database}_blobs"]["fs.files"]
        found = await files.find_one({"_id": checkpoint.blob.id})
        if found is None:
            return "gone"
        return "expiring" if "expires_at" in found["metadata"] else "kept"

    async def ended(self, outcome: Outcome = Outcome.COMPLETED, loss: float = 1.0, **more: object) -> str:
        """A job whose run has ended."""
        uid, fence = await self.running(**more)
        if outcome is Outcome.CANCELLED:
            await self.steering.cancel(uid)
        elif outcome is Outcome.PAUSED:
            await self.steering.pause(uid)
        await self.queue.report(report(uid, fence, outcome, loss))
        return uid


@asynccontextmanager
async def jobs_service(nats_url: str, mongo_url: str) -> AsyncIterator[Service]:
    """The service with its handlers at work, a database of its own, and no loop running."""
    await provision(nats_url)
    database = f"jobs_{uuid.uuid4().hex[:12]}"
    settings = JobsSettings(
        nats_url=nats_url,
        mongo_url=mongo_url,
        jobs_database=database,
        lease_seconds=0.4,
        lease_sweep_seconds=0.05,
        lost_rest_seconds=0,
    )
    service = Service(
        settings,
        resolver=FixedResolver(),  # type: ignore[arg-type]
        blobs_database=f"{database}_blobs",
    )

    async def prepare() -> None:
        await service.blobs.prepare()
        await service.prepare()

    async with started(service.broker, prepare):
        yield service
    await service.client.drop_database(database)
    await service.client.drop_database(f"{database}_blobs")
    await service.client.close()


def body(**more: Any) -> dict[str, Any]:
    """What a client posts."""
    return {
        "name": "$name with a dollar",
        "configuration": {"model": {"uid": "local/tiny"}, "dataset": {"uid": "dataset_1"}},
        **more,
    }


def request(*, key: str | None = None, owner: str = "", **more: Any) -> SubmitJob:
    return SubmitJob.model_validate({"job": body(**more), "owner": owner, "idempotency_key": key})


def claim(worker: str = "trainer_1", device: str = "cpu") -> Claim:
    return Claim(worker=worker, claim_id=uuid.uuid4().hex, devices=[device])


def probed(micro_batch_size: int | None = None) -> Probed:
    """What a run's probe has found; with another micro-batch than the default settings' eight rows."""

    def around(value: float) -> Range:
        return Range(low=value / 2, expected=value, high=value * 2)

    predicted = Estimate(
        device="cpu",
        seconds=around(10.0),
        peak_memory_bytes=around(4e8),
        tokens=around(1000.0),
        available_memory_bytes=8_000_000_000,
        basis="Measured.",
    )
    if micro_batch_size is None:
        return Probed(predicted=predicted)
    split = BatchSplit(
        micro_batch_size=micro_batch_size,
        gradient_accumulation_steps=8 // micro_batch_size,
        reason="$it did not fit",
    )
    return Probed(predicted=predicted, split=split)


def report(
    uid: str,
    fence: int,
    outcome: Outcome = Outcome.COMPLETED,
    loss: float = 1.0,
    artifacts: list[StoredArtifact] | None = None,
) -> Report:
    result = Result(
        validation_loss_before=3.0,
        validation_loss_after=loss,
        train_rows=9,
        validation_rows=1,
        truncated_rows=0,
        trained_tokens=100,
        seconds=2.0,
    )
    return Report(
        job_uid=uid,
        fence=fence,
        outcome=outcome,
        last_iteration=3,
        failure=FAILURE if outcome is Outcome.FAILED else None,
        result=result if outcome is Outcome.COMPLETED else None,
        artifacts=artifacts or [],
    )
