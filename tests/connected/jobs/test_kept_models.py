"""The tuned models on a trainer's disk go with their jobs."""

import asyncio
from pathlib import Path

import pytest

from tests.support.jobs_service import Service
from tunedeck_contracts.artifacts import MANIFEST
from tunedeck_trainer.kept_models import KeptModels

pytestmark = pytest.mark.usefixtures("telemetry_forgets")


def tuned(adapters: Path, name: str) -> Path:
    folder = adapters / name
    folder.mkdir(parents=True)
    for file in (MANIFEST, "adapter_model.safetensors"):
        (folder / file).write_bytes(b"{}")
    return folder


async def test_a_deletion_removes_the_folder_of_its_job_alone(service: Service, tmp_path: Path) -> None:
    gone, stays = await service.ended(), await service.ended()
    folders = {uid: tuned(tmp_path, uid) for uid in (gone, stays)}
    await KeptModels(service.bus, tmp_path).listen()
    await service.deletion.delete(gone)
    await service.relay.publish_pending()
    async with asyncio.timeout(10):
        while folders[gone].exists():
            await asyncio.sleep(0.02)
    assert (folders[stays] / MANIFEST).is_file()


async def test_a_look_removes_what_a_missed_event_left_and_nothing_else(
    service: Service, tmp_path: Path
) -> None:
    gone, stays = await service.ended(), await service.ended()
    left, kept = tuned(tmp_path, gone), [tuned(tmp_path, stays), tuned(tmp_path, "a.person's own")]
    bare = tmp_path / "job_0_00000000"
    bare.mkdir()
    await service.deletion.delete(gone)
    await service.relay.publish_pending()
    await KeptModels(service.bus, tmp_path).look()
    assert not left.exists()
    assert all(folder.exists() for folder in (*kept, bare))


async def test_a_job_that_nobody_knows_keeps_its_model(service: Service, tmp_path: Path) -> None:
    """Its jobs service may be another, or its database new."""
    folder = tuned(tmp_path, "job_1_00000000")
    await KeptModels(service.bus, tmp_path).look()
    assert folder.exists()
