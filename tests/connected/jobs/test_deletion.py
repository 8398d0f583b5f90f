"""Deleting a job: what goes, in which order, and what a crash leaves to the sweep."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pymongo.errors import AutoReconnect

from tests.support.jobs_service import Service, report
from tunedeck_contracts.errors import Conflict, InternalError, NotFound
from tunedeck_contracts.estimates import BatchSplit
from tunedeck_contracts.job_lists import ListJobs
from tunedeck_contracts.jobs import Device
from tunedeck_contracts.message import Message
from tunedeck_contracts.model_saving import StoredArtifact
from tunedeck_contracts.rpc import Rpc
from tunedeck_contracts.runs import Outcome
from tunedeck_jobs.lifecycle import Change, Facts

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


async def test_telemetry_is_asked_before_the_event_reaches_it(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid, _ = await with_file(service)
    order: list[str] = []
    ask = service.bus.request

    async def asked(rpc: Rpc[Any, Any], message: Message) -> Any:
        order.append("asked")
        return await ask(rpc, message)

    monkeypatch.setattr(service.bus, "request", asked)
    monkeypatch.setattr(service.relay, "kick", lambda: order.append("event"))
    await service.deletion.delete(uid)
    assert order == ["asked", "event"]


async def test_a_telemetry_that_fails_stops_no_deletion(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid, blob = await with_file(service)

    async def fails(*_: object) -> None:
        raise InternalError("An internal error.")

    monkeypatch.setattr(service.bus, "request", fails)
    gone = await service.deletion.delete(uid)
    assert gone.points is None and gone.message.endswith("with 1 file; its points and logs follow.")
    with pytest.raises(NotFound):
        await service.blobs.stat(blob)


@pytest.mark.parametrize("fault", [AutoReconnect("away"), None], ids=["away", "too slow"])
async def test_files_that_cannot_be_removed_now_are_left_to_the_sweep(
    service: Service, monkeypatch: pytest.MonkeyPatch, fault: Exception | None
) -> None:
    uid, blob = await with_file(service)

    async def does_not_delete(_: str) -> None:
        if fault is not None:
            raise fault
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr("tunedeck_jobs.deletion.FILES_SECONDS", 0.05)
        patched.setattr(service.blobs, "delete", does_not_delete)
        gone = await service.deletion.delete(uid)
    assert "with 1 file, whose removal follows; its points" in gone.message
    await service.relay.publish_pending()
    assert await service.deletion.finish() == 1
    with pytest.raises(NotFound):
        await service.blobs.stat(blob)


async def test_what_is_queued_or_runs_stays(service: Service) -> None:
    waiting = (await service.create()).job_uid
    with pytest.raises(Conflict, match="is queued; cancel it first"):
        await service.deletion.delete(waiting)
    await service.steering.cancel(waiting)
    await service.deletion.delete(waiting)
    running, fence = await service.running()
    with pytest.raises(Conflict, match="is running; cancel it first"):
        await service.deletion.delete(running)
    await service.queue.report(report(running, fence, Outcome.FAILED))
    assert (await service.deletion.delete(running)).artifacts == 0


@pytest.mark.parametrize("ended", [None, *(one for one in Outcome if one is not Outcome.LOST)])
async def test_a_deleted_job_takes_no_change(service: Service, ended: Outcome | None) -> None:
    uid = await service.ended(ended) if ended else (await service.create(start=False)).job_uid
    record = await service.repository.get(uid)
    assert record is not None
    facts = Facts(
        record.fence,
        frozenset(Device),
        most_lost=1,
        resume_iteration=-1,
        split=BatchSplit(micro_batch_size=1, gradient_accumulation_steps=8),
        rev=record.job.rev + 1,
    )
    await service.deletion.delete(uid)
    for change in Change:
        assert await service.repository.apply(uid, change, facts) is None, change
    for late in (service.steering.start, service.steering.cancel, service.steering.resume):
        with pytest.raises(NotFound):
            await late(uid)
