"""A tuned model on its way to its lasting place, which may be on another disk."""

import asyncio
import errno
import shutil
import threading
from pathlib import Path

import pytest

from tunedeck_trainer.tuned_models import keep

SECONDS = 20


@pytest.fixture
def tuned(tmp_path: Path) -> Path:
    folder = tmp_path / "work" / "tuned"
    (folder / "merged").mkdir(parents=True)
    (folder / "manifest.json").write_text("new")
    (folder / "merged" / "model.safetensors").write_text("weights")
    return folder


@pytest.fixture
def adapters(tmp_path: Path) -> Path:
    """With the model of a former attempt."""
    former = tmp_path / "adapters" / "job_1_a"
    former.mkdir(parents=True)
    (former / "manifest.json").write_text("old")
    (former / "log.txt").write_text("of the former attempt")
    return tmp_path / "adapters"


def files(folder: Path) -> list[str]:
    return sorted(one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file())


def left(folder: Path) -> list[str]:
    return [one.name for one in folder.iterdir()]


async def test_it_takes_the_place_of_a_former_attempts(tuned: Path, adapters: Path) -> None:
    place = await keep(tuned, adapters, "job_1_a")
    assert place == adapters / "job_1_a"
    assert files(adapters) == ["job_1_a/manifest.json", "job_1_a/merged/model.safetensors"]
    assert (place / "manifest.json").read_text() == "new"
    assert left(adapters) == ["job_1_a"]
    assert left(tuned.parent) == []


async def test_nothing_waits_while_it_is_moved(
    tuned: Path, adapters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others_went_on = threading.Event()
    move = shutil.move

    def slow(source: Path, target: Path) -> None:
        assert others_went_on.wait(SECONDS), "The loop stood still meanwhile."
        move(source, target)

    monkeypatch.setattr(shutil, "move", slow)
    asyncio.get_running_loop().call_soon(others_went_on.set)
    await keep(tuned, adapters, "job_1_a")
    assert (adapters / "job_1_a" / "manifest.json").read_text() == "new"


async def test_what_the_disk_does_not_take_leaves_no_part_of_it(
    tuned: Path, adapters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        Path(target).mkdir()
        shutil.copy(source / "manifest.json", target)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "move", full)
    with pytest.raises(OSError, match="No space"):
        await keep(tuned, adapters, "job_1_a")
    assert files(adapters) == ["job_1_a/log.txt", "job_1_a/manifest.json"]
    assert left(adapters) == ["job_1_a"]
    assert files(tuned) == ["manifest.json", "merged/model.safetensors"]
