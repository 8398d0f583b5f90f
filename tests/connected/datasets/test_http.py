"""Files over HTTP: sent, checked while they arrive, saved, downloaded."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.support.catalog_service import RunningCatalog, unique_csv

pytestmark = pytest.mark.connected

MIB = 1024 * 1024


def big_csv(size: int) -> bytes:
    """A file of about this size that was never seen before."""
    line = b'"a, question","' + b"an answer " * 20 + b'"\n'
    return unique_csv(1) + line * (size // len(line))


async def blob_counts(running: RunningCatalog) -> tuple[int, int]:
    database = running.catalog.client["tunedeck_blobs"]
    files, chunks = database["fs.files"], database["fs.chunks"]
    return await files.estimated_document_count(), await chunks.estimated_document_count()


async def send(http: httpx.AsyncClient, path: str, content: bytes, **form: Any) -> httpx.Response:
    return await http.post(path, files={"file": ("my rows.csv", content)}, data=form)


async def test_a_file_larger_than_a_chunk_is_checked_while_it_arrives(http: httpx.AsyncClient) -> None:
    data = big_csv(3 * MIB)
    for is_new in (True, False):
        answer = await send(http, "/api/preview-csv", data)
        assert answer.status_code == 200, answer.text
        assert answer.json()["isNewUpload"] is is_new
        assert answer.json()["statistics"]["total_rows"] == data.count(b"\n") - 1


async def test_fields_that_come_after_the_file_count_too(http: httpx.AsyncClient) -> None:
    data = big_csv(2 * MIB).replace(b"input,output", b"question,output")
    after = {"file": ("rows.csv", data), "input_column": (None, "question")}
    answer = await http.post("/api/preview-csv", files=after)
    assert answer.status_code == 200, answer.text
    assert answer.json()["isNewUpload"] is True


async def test_a_refused_file_is_read_in_another_way_without_sending_it_again(
    http: httpx.AsyncClient,
) -> None:
    data = "frage;x,antwort\nWie spät?,Später\n".encode("latin-1")
    columns = {"input_column": "frage;x", "output_column": "antwort"}
    refused = await send(http, "/api/preview-csv", data, **columns)
    assert refused.status_code == 400
    assert "is not UTF-8: byte 0xe4 at byte" in refused.json()["detail"]
    body = {"upload_id": refused.json()["upload_id"], "encoding": "iso-8859-1"}
    mapped = await http.post("/api/preview-csv", json=body)
    assert mapped.status_code == 200, mapped.text
    assert mapped.json()["data"] == [{"frage;x": "Wie spät?", "antwort": "Später"}]


async def test_a_wrong_field_is_named(http: httpx.AsyncClient) -> None:
    answer = await send(http, "/api/preview-csv", unique_csv(), encoding="klingon", format="xls")
    assert answer.status_code == 422
    assert [problem["loc"] for problem in answer.json()["errors"]] == ["encoding", "format"]
    assert "utf-8, utf-16" in answer.json()["detail"]


async def test_a_file_over_the_limit_or_broken_off_leaves_nothing(
    http: httpx.AsyncClient, running: RunningCatalog
) -> None:
    before = await blob_counts(running)
    answer = await send(http, "/api/preview-csv", big_csv(4 * MIB) + b"x" * MIB)
    assert answer.status_code == 413
    assert answer.json()["detail"] == f"File size exceeds maximum allowed size of {4 * MIB} bytes"

    async def broken() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n' + big_csv(
            2 * MIB
        )
        raise ConnectionError("gone")

    kind = {"content-type": "multipart/form-data; boundary=b"}
    with pytest.raises(ConnectionError):
        await http.post("/api/preview-csv", content=broken(), headers=kind)
    async with asyncio.timeout(60):
        while await blob_counts(running) != before:
            await asyncio.sleep(0.05)


async def test_a_dataset_is_made_of_a_file_in_one_request(http: httpx.AsyncClient) -> None:
    created = await send(
        http, "/api/datasets", unique_csv(4), description="Some rows", tags=["one", "two, three"]
    )
    assert created.status_code == 201, created.text
    dataset = created.json()
    assert (dataset["id"], dataset["name"], dataset["rows"]) == ("my-rows", "my rows", 4)
    assert (dataset["description"], dataset["tags"]) == ("Some rows", ["one", "two", "three"])
    assert (await http.get(f"/api/datasets/{dataset['uid']}")).json() == dataset
    taken = await send(http, "/api/datasets", unique_csv(), id="my-rows", name="Another")
    assert (taken.status_code, taken.json()["error_type"]) == (409, "Conflict")
    refused = await send(http, "/api/datasets", b"question,output\n1,2\n")
    assert refused.status_code == 400
    body = {"upload_id": refused.json()["upload_id"], "name": "Mapped", "input_column": "question"}
    mapped = await http.post("/api/datasets", json=body)
    assert (mapped.status_code, mapped.json()["rows"]) == (201, 1)


async def test_rows_changes_and_deletion(http: httpx.AsyncClient, running: RunningCatalog) -> None:
    uid = (await send(http, "/api/datasets", unique_csv(5))).json()["uid"]
    page = (await http.get(f"/api/datasets/{uid}/rows", params={"offset": 3})).json()
    assert (page["total"], page["limit"], [row["number"] for row in page["rows"]]) == (5, 50, [4, 5])
    assert (await http.get(f"/api/datasets/{uid}/rows", params={"limit": 1001})).status_code == 422
    changed = await http.patch(f"/api/datasets/{uid}", json={"name": "Näme", "tags": []})
    assert (changed.status_code, changed.json()["name"]) == (200, "Näme")
    assert (await http.patch(f"/api/datasets/{uid}", json={"name": ""})).status_code == 422
    running.jobs_using.append("job_1")
    needed = await http.delete(f"/api/datasets/{uid}")
    assert needed.status_code == 409 and "job_1" in needed.json()["detail"]
    running.jobs_using.clear()
    gone = await http.delete(f"/api/datasets/{uid}")
    assert (gone.status_code, gone.json()["removed"]["rows"]) == (200, 5)
    for method, path in (("GET", ""), ("GET", "/rows"), ("GET", "/download"), ("PATCH", ""), ("DELETE", "")):
        answer = await http.request(method, f"/api/datasets/{uid}{path}", json={})
        assert answer.status_code == 404, (method, path)


async def test_downloads(http: httpx.AsyncClient) -> None:
    data = unique_csv(3)
    uid = (await send(http, "/api/datasets", data, name='Näme "x"/y')).json()["uid"]
    answer = await http.get(f"/api/datasets/{uid}/download")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    plain, encoded = "N_me _x__y.csv", quote('Näme "x"/y.csv', safe="")
    disposition = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"
    assert answer.headers["content-disposition"] == disposition
    assert answer.content.replace(b"\r\n", b"\n") == data
    etag = {"if-none-match": answer.headers["etag"]}
    unchanged = await http.get(f"/api/datasets/{uid}/download", headers=etag)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    lines = await http.get(f"/api/datasets/{uid}/download", params={"format": "jsonl"}, headers=etag)
    assert lines.headers["content-type"] == "application/jsonl"
    assert len(lines.content.splitlines()) == 3
    again = await http.post("/api/preview-csv", files={"file": ("again.jsonl", lines.content)})
    assert (again.status_code, again.json()["statistics"]["total_rows"]) == (200, 3)
