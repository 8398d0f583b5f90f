"""The files of a tuned model: a completed job keeps them, of any other run they expire."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from tests.support.jobs_service import Service, claim, report
from tunedeck_chassis.blobs import ORPHAN_AGE
from tunedeck_contracts.errors import Fenced, NotFound
from tunedeck_contracts.jobs import Status
from tunedeck_contracts.model_saving import StoredArtifact
from tunedeck_contracts.runs import Outcome


async def pieces() -> AsyncIterator[bytes]:
    yield b"weights"


async def put(service: Service, keep_for: timedelta = ORPHAN_AGE) -> StoredArtifact:
    """As the trainer stores it."""
    blob = await service.blobs.put(pieces(), filename="adapter", keep_for=keep_for)
    return StoredArtifact(path="adapter", size=blob.size, sha256=blob.sha256, blob_id=blob.id)


async def expires(service: Service, artifact: StoredArtifact) -> bool:
    files = service.client[f"{service.settings.jobs_database}_blobs"]["fs.files"]
    found = await files.find_one({"_id": artifact.blob_id})
    assert found is not None
    return "expires_at" in found["metadata"]


async def test_a_completed_job_keeps_its_files(service: Service) -> None:
    uid, fence = await service.running()
    artifact = await put(service)
    before = await service.plans.of_job(uid)
    await service.queue.report(report(uid, fence, artifacts=[artifact]))
    assert not await expires(service, artifact)
    # By its plan a trainer finds them, on whatever host.
    after = await service.plans.of_job(uid)
    assert (before.status, before.artifacts) == (Status.RUNNING, [])
    assert (after.status, after.artifacts) == (Status.COMPLETED, [artifact])


async def test_the_files_of_a_cancelled_run_expire(service: Service) -> None:
    uid, fence = await service.running()
    artifact = await put(service)
    await service.steering.cancel(uid)
    await service.queue.report(report(uid, fence, artifacts=[artifact]))
    assert (await service.jobs.get(uid)).status is Status.CANCELLED
    assert await expires(service, artifact)


async def test_the_files_of_a_replaced_run_expire(service: Service) -> None:
    uid, fence = await service.running()
    artifact = await put(service)
    await service.queue.report(report(uid, fence, Outcome.LOST))
    assert (await service.queue.claim(claim("trainer_2"))).run is not None
    with pytest.raises(Fenced):
        await service.queue.report(report(uid, fence, artifacts=[artifact]))
    assert await expires(service, artifact)


async def test_a_report_that_comes_twice_at_once_loses_no_file(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid, fence = await service.running()
    artifact = await put(service)
    told = report(uid, fence, artifacts=[artifact])
    keep = service.blobs.keep

    async def keep_while_the_other_completes(blob_id: str) -> None:
        monkeypatch.setattr(service.blobs, "keep", keep)
        await service.queue.report(told)
        await keep(blob_id)

    monkeypatch.setattr(service.blobs, "keep", keep_while_the_other_completes)
    await service.queue.report(told)
    assert (await service.jobs.get(uid)).status is Status.COMPLETED
    assert not await expires(service, artifact)


async def test_a_job_is_not_completed_without_its_files(service: Service) -> None:
    uid, fence = await service.running()
    artifact = await put(service, keep_for=timedelta(seconds=-1))
    await service.blobs.sweep()
    with pytest.raises(NotFound, match="may have expired"):
        await service.queue.report(report(uid, fence, artifacts=[artifact]))
    assert (await service.jobs.get(uid)).status is Status.RUNNING
