"""What becomes of a run's checkpoints: stored, registered, gone on from, never used when torn."""

import asyncio
import hashlib
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.trainer.place import LONG, Place, children, until
from tunedeck_chassis.blobs import ORPHAN_AGE
from tunedeck_contracts.checkpoints import Checkpoint
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.jobs import Wanted
from tunedeck_contracts.runs import Outcome, Report
from tunedeck_trainer import checkpoint_files, checkpoint_store
from tunedeck_trainer.checkpoint_files import MANIFEST, OPTIMIZER, CheckpointManifest, TornCheckpoint, publish
from tunedeck_trainer.reporting import FencedOut
from tunedeck_trainer.settings import TrainerSettings
from tunedeck_trainer.supervision import Supervision

# Each of its runs loads torch.
pytestmark = pytest.mark.timeout(600)

STEPS, EACH = 400, 20
SAVING = Hyperparameters(max_steps=STEPS, batch_size=4, eval_steps=STEPS, save_steps=EACH)


async def paused(place: Place) -> Report:
    """A run that was paused after a checkpoint or two."""
    place.bus.wanted_at_checkpoint = Wanted.PAUSE
    await asyncio.wait_for(Supervision(place.run(SAVING), place.around).supervise(), 240)
    place.bus.wanted, place.bus.wanted_at_checkpoint = Wanted.RUN, None
    return place.bus.reports.pop()


@dataclass(frozen=True)
class Kept:
    """What a paused run has left in the blob store, and the newest of it as it was registered."""

    newest: Checkpoint
    blobs: dict[str, bytes]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Kept:
    place = Place(tmp_path_factory.mktemp("kept"), models_dir)
    asyncio.run(paused(place))
    place.journal.close()
    return Kept(place.bus.registered[-1], place.blobs.held)


@pytest.fixture
def later(place: Place, kept: Kept) -> Place:
    """A trainer that has the paused run's blobs."""
    place.blobs.held.update(kept.blobs)
    return place


async def resumed(place: Place, checkpoints: list[Checkpoint]) -> None:
    """The next attempt, to its end."""
    place.bus.events.clear()
    run = place.run(SAVING, fence=2).model_copy(update={"checkpoints": checkpoints})
    await asyncio.wait_for(Supervision(run, place.around).supervise(), 240)


def told(place: Place) -> list[int]:
    return [one["point"]["iteration"] for one in place.bus.of_kind("loss")]


def lines(place: Place) -> str:
    return "\n".join(one["line"]["text"] for one in place.bus.of_kind("log"))


async def test_a_paused_run_goes_on_from_its_last_step_and_tells_all_of_it_again(place: Place) -> None:
    report = await paused(place)
    newest = place.bus.registered[-1]
    assert report.outcome is Outcome.PAUSED
    assert (newest.fence, newest.iteration) == (1, report.last_iteration)
    assert hashlib.sha256(place.blobs.held[newest.blob.id]).hexdigest() == newest.blob.sha256
    assert (newest.blob.id, ORPHAN_AGE) in place.blobs.put_for
    assert children() == []

    await resumed(place, place.bus.registered[::-1])
    [report] = place.bus.reports
    assert (report.outcome, report.last_iteration) == (Outcome.COMPLETED, STEPS)
    assert told(place) == list(range(1, STEPS + 1))
    assert f"Going on from the checkpoint after step {newest.step}." in lines(place)
    decided = [beat.resume_iteration for beat in place.bus.beats if beat.fence == 2]
    assert decided[-1] == newest.iteration
    assert set(decided) <= {None, newest.iteration}


async def test_only_the_newest_checkpoint_that_is_whole_is_gone_on_from(
    later: Place, kept: Kept, tmp_path: Path
) -> None:
    whole = kept.newest
    gone = whole.model_copy(update={"blob": whole.blob.model_copy(update={"id": "gone"})})
    await resumed(later, [gone, torn(later, whole), unreadable(later, whole, tmp_path), whole])
    [report] = later.bus.reports
    assert report.outcome is Outcome.COMPLETED
    assert told(later) == list(range(1, STEPS + 1))
    assert later.bus.beats[-1].resume_iteration == whole.iteration
    for reason in ("archive is gone", "not what was registered", f"{OPTIMIZER} cannot be read"):
        assert reason in lines(later)


async def test_without_a_whole_checkpoint_a_run_begins_at_its_start_and_says_so(
    later: Place, kept: Kept
) -> None:
    # The settings of the checkpoint are not this run's.
    run = later.run(SAVING.model_copy(update={"max_steps": 2}), fence=2)
    await Supervision(run.model_copy(update={"checkpoints": [kept.newest]}), later.around).supervise()
    assert told(later) == [1, 2]
    assert "another settings" in lines(later)
    assert later.bus.beats[-1].resume_iteration == 0


async def test_a_killed_childs_last_checkpoint_is_registered_before_the_report(place: Place) -> None:
    place.settings.drain_seconds = 60.0
    place.blobs.away = True
    task = asyncio.create_task(Supervision(place.run(SAVING), place.around).supervise())
    await until(lambda: len(told(place)) > EACH + 5)
    os.kill(children()[0].pid, signal.SIGKILL)
    await until(lambda: not children())
    heard = len(place.bus.beats)
    # All else is told by then.
    await until(lambda: len(place.bus.beats) > heard + 50 or bool(place.bus.reports))
    assert place.bus.registered == []
    assert place.bus.reports == []
    place.blobs.away = False
    await asyncio.wait_for(task, 30)
    [report] = place.bus.reports
    assert report.outcome is Outcome.LOST
    last = report.last_iteration
    # A step is told before its checkpoint is written, and the kill may have come in between.
    between = [last - EACH] if last % EACH == 0 else []
    assert place.bus.registered[-1].step in [last // EACH * EACH, *between]
    assert report.log[-1].text in lines(place)


async def test_while_the_store_is_away_or_full_training_goes_on_and_the_disk_stays(
    place: Place,
) -> None:
    place.blobs.away = True
    every = LONG.model_copy(update={"save_steps": 1})
    task = asyncio.create_task(Supervision(place.run(every), place.around).supervise())
    folder = place.settings.work_dir / "job_1_aaaa" / "1" / "checkpoints"
    await until(lambda: len(told(place)) > 20)
    # The newest, one that was on its way to the store, and what was written since.
    await until(lambda: len([one for one in folder.iterdir() if one.name.isdecimal()]) <= 4)
    place.disk.room = 1000
    await until(lambda: place.disk.refused > 1)
    place.blobs.away = False
    before = place.disk.refused
    await until(lambda: place.disk.refused > before + 1)
    assert (place.bus.registered, list(place.blobs.held)) == ([], ["b"])
    await until(lambda: "Checkpoints wait to be stored." in lines(place))
    place.disk.room = 2**40
    await until(lambda: bool(place.bus.registered))
    assert lines(place).count("Checkpoints wait to be stored.") == 1
    assert place.bus.registered[0].step > 1
    place.bus.wanted = Wanted.CANCEL
    await asyncio.wait_for(task, 30)
    assert place.bus.reports[0].outcome is Outcome.CANCELLED


async def test_a_run_without_contact_is_given_up_only_after_its_time(place: Place) -> None:
    assert TrainerSettings().contactless_seconds == 24 * 3600
    place.bus.jobs_away = True
    place.settings.contactless_seconds = 3600.0
    task = asyncio.create_task(Supervision(place.run(LONG), place.around).supervise())
    await until(lambda: len(told(place)) > 20)
    assert len(children()) == 1
    place.settings.contactless_seconds = 0.1
    with pytest.raises(FencedOut, match="Nobody answered"):
        await asyncio.wait_for(task, 30)
    assert children() == []


async def test_another_jobs_checkpoint_is_gone_on_from_but_nothing_of_it_was_told_here(
    later: Place, kept: Kept
) -> None:
    await resumed(later, [kept.newest.model_copy(update={"fence": 0})])
    assert told(later) == list(range(1, STEPS + 1))
    assert f"Going on from the checkpoint after step {kept.newest.step}." in lines(later)
    assert later.bus.beats[-1].resume_iteration == 0


async def test_what_a_killed_trainer_left_on_disk_is_used_if_it_is_what_was_registered(
    later: Place, kept: Kept, tmp_path: Path
) -> None:
    blobs, job = later.around.blobs, tmp_path / "job"
    left = job / "1" / "checkpoints" / str(kept.newest.step)
    left.parent.mkdir(parents=True)
    await checkpoint_store.fetch(kept.newest, blobs, job, left)
    later.blobs.held.pop(kept.newest.blob.id)
    await checkpoint_store.fetch(kept.newest, blobs, job, tmp_path / "first")
    assert checkpoint_files.verified(tmp_path / "first").step == kept.newest.step
    (left / OPTIMIZER).write_bytes(b"")
    with pytest.raises(TornCheckpoint, match="gone"):
        await checkpoint_store.fetch(kept.newest, blobs, job, tmp_path / "second")


def torn(place: Place, whole: Checkpoint) -> Checkpoint:
    """One whose archive lost its end."""
    place.blobs.held["torn"] = place.blobs.held[whole.blob.id][:-5000]
    return whole.model_copy(update={"blob": whole.blob.model_copy(update={"id": "torn"})})


def unreadable(place: Place, whole: Checkpoint, folder: Path) -> Checkpoint:
    """One that was written so: all its hashes are right, and its optimizer cannot be loaded."""
    archive, draft, written = folder / "a.tar", folder / "draft", folder / "written"
    archive.write_bytes(place.blobs.held[whole.blob.id])
    checkpoint_files.unpack(archive, draft)
    manifest = CheckpointManifest.model_validate_json((draft / MANIFEST).read_bytes())
    (draft / MANIFEST).unlink()
    (draft / OPTIMIZER).write_bytes((draft / OPTIMIZER).read_bytes()[:-100])
    publish(draft, written, manifest)
    data = b"".join(checkpoint_files.archived(written))
    shutil.rmtree(written)
    place.blobs.held["unreadable"] = data
    blob = whole.blob.model_copy(update={"id": "unreadable", "sha256": hashlib.sha256(data).hexdigest()})
    return whole.model_copy(update={"blob": blob})
