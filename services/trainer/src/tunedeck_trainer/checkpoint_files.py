"""A checkpoint's folder: there whole or not at all, and known again by the hash of each file.

Written by the training process, archived and unpacked by its parent: nothing here needs torch.
"""

import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field, ValidationError

from tunedeck_chassis import crash_points
from tunedeck_contracts.artifacts import MANIFEST, ManifestFile
from tunedeck_contracts.message import Message, Timestamp
from tunedeck_trainer.file_hashes import described, files_of

WEIGHTS = "weights.safetensors"
OPTIMIZER = "optimizer.pt"
SCHEDULER = "scheduler.pt"
RANDOM_STATES = "rng_state.pth"
TRAINER_STATE = "trainer_state.json"
PROGRESS = "progress.json"
POINTS = "points.jsonl"
BEST_WEIGHTS = "best.safetensors"
"""Of an earlier step; absent while those of the checkpoint are the best, or none was judged."""
REQUIRED = frozenset({WEIGHTS, OPTIMIZER, SCHEDULER, RANDOM_STATES, TRAINER_STATE, PROGRESS, POINTS})

_CHUNK = 2**20


class TornCheckpoint(Exception):
    """The folder is not what was written; the message says where."""


class CheckpointManifest(Message):
    """What the checkpoint belongs to, and the hash of each of its files."""

    step: int
    settings: str = Field(description="The uid of the run's hyperparameters.")
    base_model: str
    base_revision: str
    rows_sha256: str
    packages: dict[str, str] = Field(description="Versions of what trained.")
    device: str
    threads: int = Field(description="torch's, on a CPU; another number may round otherwise.")
    processes: int = Field(default=1, description="One for each device, whose batches together are one.")
    created_at: Timestamp
    files: list[ManifestFile] = []


def publish(draft: Path, place: Path, manifest: CheckpointManifest) -> None:
    """Sync the files of a draft, vouch for them, and give the folder its name in one step."""
    files = files_of(draft)
    for file in files:
        _sync(file)
    vouching = manifest.model_copy(update={"files": [described(draft, file) for file in files]})
    (draft / MANIFEST).write_bytes(vouching.to_json())
    _sync(draft / MANIFEST)
    _sync(draft)
    crash_points.reached("trainer.checkpoint_written")
    shutil.rmtree(place, ignore_errors=True)
    draft.rename(place)
    _sync(place.parent)
    crash_points.reached("trainer.checkpoint_renamed")


def verified(folder: Path) -> CheckpointManifest:
    """The manifest of a checkpoint that is as it was written.

    Raises:
        TornCheckpoint: a file is missing, was changed, or should not be there.
    """
    try:
        manifest = CheckpointManifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError) as error:
        raise TornCheckpoint(f"{MANIFEST} cannot be read: {error}") from error
    named = {one.path: one for one in manifest.files}
    if missing := REQUIRED - named.keys():
        raise TornCheckpoint(f"It never had {', '.join(sorted(missing))}.")
    there = {file.relative_to(folder).as_posix(): file for file in files_of(folder)}
    if differing := (there.keys() ^ named.keys()) - {MANIFEST}:
        raise TornCheckpoint(f"Missing or foreign: {', '.join(sorted(differing))}.")
    for path, one in named.items():
        if described(folder, there[path]) != one:
            raise TornCheckpoint(f"{path} is not what was written.")
    return manifest


def archived(folder: Path) -> Iterator[bytes]:
    """The folder as a tar archive, in pieces: the same bytes for the same files."""
    for file in files_of(folder):
        member = tarfile.TarInfo(file.relative_to(folder).as_posix())
        member.size = file.stat().st_size
        yield member.tobuf(tarfile.GNU_FORMAT)
        with file.open("rb") as opened:
            while chunk := opened.read(_CHUNK):
                yield chunk
        yield bytes(-member.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def unpack(archive: Path, folder: Path) -> None:
    """Write the files of an archive into a new folder.

    Raises:
        TornCheckpoint: it is no such archive.
    """
    try:
        with tarfile.open(archive, "r:") as opened:
            opened.extractall(folder, filter="data")
    except tarfile.TarError as error:
        raise TornCheckpoint(f"The archive cannot be read: {error}") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
