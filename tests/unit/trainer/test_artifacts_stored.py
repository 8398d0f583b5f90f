"""The files of a tuned model on their way to the blob store."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.unit.trainer.place import FakeBlobs, FakeDisk, until
from tunedeck_trainer import artifacts
from tunedeck_trainer.room import Room


async def test_without_room_the_files_wait_and_the_job_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "RETRY_SECONDS", 0.01)
    (tmp_path / "adapter.safetensors").write_bytes(b"x" * 5000)
    (tmp_path / "manifest.json").write_bytes(b"{}")
    blobs: Any = FakeBlobs()
    disk: Any = FakeDisk()
    disk.room = 1000
    warnings: list[str] = []
    room = Room(disk, warnings.append, "The tuned model waits")
    storing = asyncio.create_task(artifacts.store(tmp_path, blobs, room))
    await until(lambda: disk.refused > 2)
    disk.room = 10_000
    stored = await storing
    assert {one.path for one in stored} == {"adapter.safetensors", "manifest.json"}
    [warning] = warnings
    assert warning == "The tuned model waits to be stored. The database's disk has no room."
