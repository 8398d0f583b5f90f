"""Saved datasets: read by page, downloaded, changed, deleted."""

import asyncio
import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from pymongo.errors import AutoReconnect

from tests.support.catalog_service import RunningCatalog, unique_csv
from tests.support.file_checks import in_pieces, pairs_and_report
from tunedeck_catalog.reading import Reading
from tunedeck_catalog.repository import datasets as datasets_repository
from tunedeck_contracts import rpc
from tunedeck_contracts.datasets import (
    ChangeDataset,
    CreateDataset,
    DeleteDataset,
    FileFormat,
    GetDataset,
    GetRows,
    ListDatasets,
    LocateFile,
    ResolveDataset,
)
from tunedeck_contracts.errors import Conflict, NotFound, Unavailable
from tunedeck_contracts.job_lists import FindJobsUsing

pytestmark = pytest.mark.connected


async def test_one_is_read_by_its_uid_and_by_its_id(running: RunningCatalog) -> None:
    saved = await running.saved(unique_csv())
    for reference in (saved.uid, saved.id):
        assert await running.bus.request(rpc.DATASET_GET, GetDataset(dataset=reference)) == saved
    with pytest.raises(NotFound, match="no dataset 'other'"):
        await running.bus.request(rpc.DATASET_GET, GetDataset(dataset="other"))


async def test_rows_by_page(running: RunningCatalog) -> None:
    wide = "x" * 1000
    data = b"output,input\n" + b"".join(f"a{n} {wide},q{n}\n".encode() for n in range(3000)) + b"no input,\n"
    saved = await running.saved(data)
    for offset, limit, first, count in ((0, 50, 1, 50), (2990, 50, 2991, 10), (1500, 1000, 1501, 1000)):
        wanted = GetRows(dataset=saved.uid, offset=offset, limit=limit)
        page = await running.bus.request(rpc.DATASET_ROWS, wanted)
        assert (page.total, page.offset, page.limit, len(page.rows)) == (3000, offset, limit, count)
        assert (page.rows[0].number, page.rows[0].input) == (first, f"q{first - 1}")
        assert page.rows[-1].output == f"a{first + count - 2} {wide}"
    beyond = await running.bus.request(rpc.DATASET_ROWS, GetRows(dataset=saved.id, offset=3000))
    assert (beyond.rows, beyond.total) == ([], 3000)


async def test_a_dataset_without_an_index_of_its_rows_is_read_from_its_start(running: RunningCatalog) -> None:
    saved = await running.saved(unique_csv(9))
    datasets = running.catalog.client[running.catalog.settings.catalog_database]["datasets"]
    await datasets.update_one({"_id": saved.uid}, {"$unset": {"rows_before": ""}})
    page = await running.bus.request(rpc.DATASET_ROWS, GetRows(dataset=saved.uid, offset=7))
    assert [row.output for row in page.rows] == ["answer 7", "answer 8"]


async def test_both_downloads_read_back_equal(running: RunningCatalog) -> None:
    mark = uuid.uuid4().hex
    rows = [(f'{mark}, "quoted"\r\nand more', "=1+1"), ("  spaces  ", "ä\u2028ö"), ("a\rb", "'")]
    lines = "".join(json.dumps({"input": one, "output": two}) + "\n" for one, two in rows)
    saved = await running.saved(lines.encode(), "rows.jsonl")
    for form in FileFormat:
        file = await running.bus.request(rpc.DATASET_LOCATE, LocateFile(dataset=saved.uid, format=form))
        content = await running.content(file.blob_id)
        assert (file.filename, file.size) == (f"My Data.{form}", len(content))
        assert pairs_and_report(in_pieces(content), Reading(format=form))[0] == rows
        again = await running.bus.request(rpc.DATASET_LOCATE, LocateFile(dataset=saved.id, format=form))
        assert again == file


async def test_rename_and_retag(running: RunningCatalog) -> None:
    saved = await running.saved(unique_csv())
    changes = ChangeDataset(dataset=saved.id, name="Another name", tags=["one", "two"])
    changed = await running.bus.request(rpc.DATASET_CHANGE, changes)
    assert changed == saved.model_copy(update={"name": "Another name", "tags": ["one", "two"]})
    same = await running.bus.request(rpc.DATASET_CHANGE, ChangeDataset(dataset=saved.uid))
    assert same == changed
    assert await running.bus.request(rpc.DATASET_GET, GetDataset(dataset=saved.uid)) == changed
    with pytest.raises(NotFound):
        await running.bus.request(rpc.DATASET_CHANGE, ChangeDataset(dataset="other", name="x"))


async def test_a_deleted_dataset_is_gone_with_its_files(running: RunningCatalog) -> None:
    kept = await running.saved(unique_csv())
    saved = await running.saved(unique_csv(4))
    files = [
        await running.bus.request(rpc.DATASET_LOCATE, LocateFile(dataset=saved.uid, format=form))
        for form in FileFormat
    ]
    gone = await running.bus.request(rpc.DATASET_DELETE, DeleteDataset(dataset=saved.id))
    assert (gone.success, gone.uid, gone.removed.rows, gone.removed.files) == (True, saved.uid, 4, 2)
    assert gone.removed.bytes == sum(file.size for file in files)
    assert gone.message == "Successfully removed dataset 'My Data' and its 4 rows"
    for file in files:
        with pytest.raises(NotFound):
            await running.content(file.blob_id)
    with pytest.raises(NotFound):
        await running.bus.request(rpc.DATASET_DELETE, DeleteDataset(dataset=saved.uid))
    assert [one["uid"] for one in await running.listed(rpc.DATASET_LIST, ListDatasets())] == [kept.uid]


async def test_a_dataset_that_jobs_need_stays(running: RunningCatalog) -> None:
    upload_id = (await running.preview(unique_csv())).upload_id
    saved = await running.bus.request(rpc.DATASET_CREATE, CreateDataset(upload_id=upload_id, name="My Data"))
    running.jobs_using.extend(f"job_{n}" for n in range(7))
    with pytest.raises(Conflict, match="needed by job_0, job_1, job_2, job_3, job_4 and 2 more"):
        await running.bus.request(rpc.DATASET_DELETE, DeleteDataset(dataset=saved.uid))
    resolved = await running.bus.request(rpc.DATASET_RESOLVE, ResolveDataset(reference=saved.uid))
    assert await running.content(resolved.rows_blob)
    asked = FindJobsUsing(dataset=saved.uid, also=[saved.id, upload_id])
    # More than once where the answer took long.
    assert running.asked_of_jobs and all(one == asked for one in running.asked_of_jobs)
    running.jobs_using.clear()
    await running.bus.request(rpc.DATASET_DELETE, DeleteDataset(dataset=saved.uid))


async def test_no_job_can_pin_a_dataset_while_it_is_deleted(running: RunningCatalog) -> None:
    saved = await running.saved(unique_csv())
    assert await running.catalog.datasets.hide(saved.uid) is not None
    with pytest.raises(NotFound):
        await running.bus.request(rpc.DATASET_RESOLVE, ResolveDataset(reference=saved.uid))
    assert await running.catalog.datasets.hide(saved.uid) is None
    # A minute later, when the deletion broke off, it is there again.
    datasets = running.catalog.client[running.catalog.settings.catalog_database]["datasets"]
    hidden = await datasets.find_one({"_id": saved.uid})
    assert hidden is not None
    await datasets.update_one({"_id": saved.uid}, {"$set": {"hidden_until": hidden["created_at"]}})
    assert await running.bus.request(rpc.DATASET_GET, GetDataset(dataset=saved.uid)) == saved


async def breaks(*_: Any) -> None:
    """Stands for a write that MongoDB did not answer."""
    raise AutoReconnect("gone")


@pytest.mark.parametrize("broken", ["blobs.delete", "datasets.purge"])
async def test_a_deletion_that_breaks_off_is_finished_later_and_shows_nothing_again(
    running: RunningCatalog, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    upload_id = (await running.preview(unique_csv())).upload_id
    first = await running.bus.request(rpc.DATASET_RESOLVE, ResolveDataset(reference=upload_id))
    saved = await running.bus.request(rpc.DATASET_GET, GetDataset(dataset=first.uid))
    owner, method = broken.split(".")
    with monkeypatch.context() as patched:
        patched.setattr(getattr(running.catalog, owner), method, breaks)
        gone = await running.bus.request(rpc.DATASET_DELETE, DeleteDataset(dataset=saved.id))
    assert gone.uid == saved.uid
    datasets = running.catalog.client[running.catalog.settings.catalog_database]["datasets"]
    await datasets.update_one({"_id": saved.uid}, {"$set": {"hidden_until": saved.created_at}})
    for reference in (saved.uid, saved.id):
        with pytest.raises(NotFound):
            await running.bus.request(rpc.DATASET_GET, GetDataset(dataset=reference))
    # Its id and its upload are free at once.
    second = await running.bus.request(rpc.DATASET_RESOLVE, ResolveDataset(reference=upload_id))
    assert (await running.bus.request(rpc.DATASET_GET, GetDataset(dataset=saved.id))).uid == second.uid
    sweep = asyncio.create_task(running.catalog.sweep())
    async with asyncio.timeout(30):
        while await datasets.find_one({"_id": saved.uid}) is not None:
            await asyncio.sleep(0.01)
    sweep.cancel()
    with pytest.raises(NotFound):
        await running.content(first.rows_blob)
    assert await running.content(second.rows_blob)


async def test_no_file_is_touched_by_a_deletion_that_took_too_long(
    running: RunningCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = await running.saved(unique_csv())
    resolved = await running.bus.request(rpc.DATASET_RESOLVE, ResolveDataset(reference=saved.uid))
    with monkeypatch.context() as patched:
        patched.setattr(datasets_repository, "_HIDDEN_FOR", timedelta(0))
        with pytest.raises(Unavailable, match="took too long"):
            await running.bus.request(rpc.DATASET_DELETE, DeleteDataset(dataset=saved.uid))
    assert await running.bus.request(rpc.DATASET_GET, GetDataset(dataset=saved.uid)) == saved
    assert await running.content(resolved.rows_blob)


async def test_a_csv_file_is_kept_for_ever_only_as_a_datasets(
    running: RunningCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = await running.saved(unique_csv())
    wanted = LocateFile(dataset=saved.uid, format=FileFormat.CSV)
    files = running.catalog.client["tunedeck_blobs"]["fs.files"]
    with monkeypatch.context() as patched:
        patched.setattr(running.catalog.blobs, "keep", breaks)
        assert (await running.bus.forward(rpc.DATASET_LOCATE, wanted.to_json())).status == 503
    left = await files.find_one({"filename": f"{saved.uid}.csv"})
    assert left is not None and "expires_at" in left["metadata"]
    kept = await files.find_one({"_id": (await running.bus.request(rpc.DATASET_LOCATE, wanted)).blob_id})
    assert kept is not None and "expires_at" not in kept["metadata"]
