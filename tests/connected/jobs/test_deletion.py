"""Deleting a job: what goes, in which order, and what a crash leaves to the sweep."""

from collections.abc import AsyncIterator

import pytest

from tests.support.jobs_service import Service, report
from tunedeck_contracts.errors import Conflict, NotFound
from tunedeck_contracts.job_lists import ListJobs
from tunedeck_contracts.jobs import StoredArtifact
from tunedeck_contracts.runs import Outcome
from tunedeck_jobs.lifecycle import Change

pytestmark = pytest.mark.usefixtures("telemetry_forgets")


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def with_file(service: Service) -> tuple[str, str]:
    """A completed job with one file, and the file's blob."""
    uid, fence = await service.running()
    blob = await service.blobs.put(pieces(b"weights"), filename="adapter")
    artifact = StoredArtifact(path="adapter", size=blob.size, sha256=blob.sha256, blob_id=blob.id)
    await service.queue.report(report(uid, fence, artifacts=[artifact]))
    return uid, blob.id


async def stored(service: Service, uid: str) -> bool:
    jobs = service.client[service.settings.jobs_database]["jobs"]
    return await jobs.count_documents({"_id": uid}) == 1


async def test_a_deletion_says_what_it_removed_and_leaves_nothing(service: Service) -> None:
    uid, blob = await with_file(service)
    gone = await service.deletion.delete(uid)
    assert (gone.uid, gone.artifacts, gone.artifact_bytes) == (uid, 1, 7)
    assert gone.points == 12 and "with 1 file; its points and logs are gone" in gone.message
    with pytest.raises(NotFound):
        await service.jobs.get(uid)
    with pytest.raises(NotFound):
        await service.jobs.locate_artifact(uid, "adapter")
    with pytest.raises(NotFound):
        await service.deletion.delete(uid)
    with pytest.raises(NotFound):
        await service.blobs.stat(blob)
    page = await service.listing.page(ListJobs())
    assert (page.jobs, page.total) == ([], 0)
    assert (await service.listing.statistics()).total == 0


async def test_the_document_stays_until_the_stream_has_its_last_event(service: Service) -> None:
    uid, _ = await with_file(service)
    await service.deletion.delete(uid)
    assert (await service.deletion.finish(), await stored(service, uid)) == (0, True)
    events = await service.events(uid)
    assert [one.type.value for one in events] == ["created", "queued", "started", "completed", "deleted"]
    assert [one.rev for one in events] == [1, 2, 3, 4, 5]
    assert (await service.deletion.finish(), await stored(service, uid)) == (1, False)


async def test_the_sweep_ends_what_a_crash_left(service: Service) -> None:
    uid, blob = await with_file(service)
    await service.repository.apply(uid, Change.DELETE)
    await service.relay.publish_pending()
    assert await service.deletion.finish() == 1
    with pytest.raises(NotFound):
        await service.blobs.stat(blob)
    assert not await stored(service, uid)


async def test_what_is_queued_or_runs_stays(service: Service) -> None:
    waiting = (await service.create()).job_uid
    with pytest.raises(Conflict, match="is queued; cancel it first"):
        await service.deletion.delete(waiting)
    await service.jobs.cancel(waiting)
    await service.deletion.delete(waiting)
    running, fence = await service.running()
    with pytest.raises(Conflict, match="is running; cancel it first"):
        await service.deletion.delete(running)
    await service.queue.report(report(running, fence, Outcome.FAILED))
    assert (await service.deletion.delete(running)).artifacts == 0


async def test_a_deleted_job_takes_no_change(service: Service) -> None:
    uid = (await service.create(start=False)).job_uid
    await service.deletion.delete(uid)
    for change in Change:
        assert await service.repository.apply(uid, change) is None, change
    for late in (service.jobs.start, service.jobs.cancel):
        with pytest.raises(NotFound):
            await late(uid)
