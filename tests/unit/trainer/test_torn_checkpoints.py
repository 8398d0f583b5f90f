"""A checkpoint of which anything is missing or changed is refused: nothing of it is ever loaded."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from tests.unit.trainer.child_runs import a_run
from tests.unit.trainer.resume_runs import GPT2, SETTINGS, trained
from tunedeck_trainer import checkpoint_files as files
from tunedeck_trainer.checkpoint_files import TornCheckpoint
from tunedeck_trainer.checkpointing import Checkpoints, History
from tunedeck_trainer.pipe import Spec, Wishes

FULL = SETTINGS.model_copy(update={"method": "full", "max_steps": 3})
FILES = sorted(files.REQUIRED | {files.MANIFEST})


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, gpt2_dir: Path) -> Path:
    run = trained(tmp_path_factory.mktemp("torn") / "run", gpt2_dir, FULL)
    assert run.status == 0
    return run.checkpoint(2)


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copied"))


@pytest.fixture(scope="module")
def opened(gpt2_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], object]:
    folder = tmp_path_factory.mktemp("opening")
    model = AutoModelForCausalLM.from_pretrained(gpt2_dir / GPT2)
    spec = Spec(run=a_run(FULL, GPT2), models_dir=gpt2_dir, rows_file=folder, device="cpu", threads=1)
    checkpoints = Checkpoints(spec, folder, History(folder / "points.jsonl", lambda _: None), Wishes())
    return lambda checkpoint: checkpoints.opened(checkpoint, model)


def test_a_whole_one_is_opened(copied: Path, opened: Callable[[Path], object]) -> None:
    assert sorted(one.name for one in copied.iterdir()) == FILES
    opened(copied)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("tear", [Path.unlink, cut, empty, flip])
def test_each_file_that_is_torn_is_noticed(
    copied: Path, opened: Callable[[Path], object], name: str, tear: Callable[[Path], None]
) -> None:
    tear(copied / name)
    with pytest.raises(TornCheckpoint):
        opened(copied)


@pytest.mark.parametrize("name", [files.WEIGHTS, files.OPTIMIZER, files.SCHEDULER, files.RANDOM_STATES])
@pytest.mark.parametrize("tear", [cut, empty])
def test_what_was_written_torn_is_noticed_though_every_hash_is_right(
    copied: Path, opened: Callable[[Path], object], name: str, tear: Callable[[Path], None], tmp_path: Path
) -> None:
    manifest = files.verified(copied)
    tear(copied / name)
    (copied / files.MANIFEST).unlink()
    files.publish(copied, tmp_path / "published", manifest)
    files.verified(tmp_path / "published")
    with pytest.raises(TornCheckpoint, match=name):
        opened(tmp_path / "published")


def test_a_file_that_does_not_belong_there_is_noticed(copied: Path) -> None:
    (copied / "more.pt").write_bytes(b"")
    with pytest.raises(TornCheckpoint, match="foreign"):
        files.verified(copied)


def test_an_archive_is_the_same_for_the_same_files_and_gives_them_back(copied: Path, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    archive.write_bytes(b"".join(files.archived(copied)))
    assert archive.read_bytes() == b"".join(files.archived(copied))
    files.unpack(archive, tmp_path / "unpacked")
    assert files.verified(tmp_path / "unpacked") == files.verified(copied)


def test_what_is_not_yet_named_is_no_checkpoint(copied: Path, tmp_path: Path) -> None:
    manifest = files.verified(copied)
    (copied / files.MANIFEST).unlink()
    with pytest.raises(TornCheckpoint, match="cannot be read"):
        files.verified(copied)
    files.publish(copied, tmp_path / "named", manifest)
    assert not copied.exists()
    assert files.verified(tmp_path / "named") == manifest
