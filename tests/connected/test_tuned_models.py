"""A tuned model that another host has trained, out of a real blob store."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tunedeck_chassis.blobs import BlobStore
from tunedeck_contracts.datasets import ResolvedDataset
from tunedeck_contracts.errors import Conflict
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.jobs import Status
from tunedeck_contracts.model_saving import StoredArtifact
from tunedeck_contracts.models import ResolvedModel
from tunedeck_contracts.plans import Plan
from tunedeck_trainer.tuned_models import tuned_folder

pytestmark = pytest.mark.connected


def a_plan(artifacts: list[StoredArtifact]) -> Plan:
    return Plan(
        job_uid="job_1_a",
        model=ResolvedModel(uid="local/tiny", name="tiny", revision="sha256:0", source="folder"),
        dataset=ResolvedDataset(uid="dataset_1_a", name="sums", rows=3, rows_blob="b", rows_sha256="0"),
        hyperparameters=Hyperparameters(),
        status=Status.COMPLETED,
        artifacts=artifacts,
    )


def names(folder: Path) -> list[str]:
    return [one.name for one in folder.iterdir()]


async def test_the_tuned_model_of_another_host_is_fetched_and_held_to_its_hashes(
    blobs: BlobStore, tmp_path: Path
) -> None:
    adapters = tmp_path / "adapters"

    async def content() -> AsyncIterator[bytes]:
        yield b"weights"

    blob = await blobs.put(content(), filename="adapter_model.safetensors")
    file = StoredArtifact(
        path="adapter_model.safetensors", size=blob.size, sha256=blob.sha256, blob_id=blob.id
    )
    merged = file.model_copy(update={"path": "merged/model.safetensors"})
    plan = a_plan(artifacts=[file, merged])
    folder = await tuned_folder(plan, adapters, blobs)
    assert folder == adapters / "job_1_a"
    assert names(folder) == ["adapter_model.safetensors"]
    assert hashlib.sha256((folder / file.path).read_bytes()).hexdigest() == file.sha256
    # It is there: nothing is fetched again. A file of another size is none of the job's.
    await blobs.delete(blob.id)
    assert await tuned_folder(plan, adapters, blobs) == folder
    (folder / file.path).write_bytes(b"torn")
    with pytest.raises(Conflict, match="is gone"):
        await tuned_folder(plan, adapters, blobs)
    forged = await blobs.put(content(), filename="adapter_model.safetensors")
    other = file.model_copy(update={"blob_id": forged.id, "sha256": "0" * 64})
    with pytest.raises(Conflict, match="hash differs"):
        await tuned_folder(a_plan(artifacts=[other]), adapters, blobs)
    assert names(adapters) == ["job_1_a"]
