"""Which checkpoints a job keeps."""

from tunedeck_contracts.checkpoints import Checkpoint, StoredBlob
from tunedeck_contracts.message import utc_now
from tunedeck_jobs.checkpoints import best_of, retained


def of(step: int, loss: float | None = None, fence: int = 1) -> Checkpoint:
    blob = StoredBlob(id=f"blob_{fence}_{step}", sha256="0", bytes=1)
    return Checkpoint(
        step=step, iteration=step, fence=fence, blob=blob, validation_loss=loss, created_at=utc_now()
    )


def steps(known: list[Checkpoint], new: Checkpoint) -> tuple[list[int], list[str]]:
    kept, released = retained(known, new)
    return [one.step for one in kept], released


def test_the_newest_two_stay() -> None:
    assert steps([], of(10)) == ([10], [])
    assert steps([of(10)], of(20)) == ([20, 10], [])
    assert steps([of(20), of(10)], of(30)) == ([30, 20], ["blob_1_10"])


def test_the_best_stays_beside_them() -> None:
    assert steps([of(20, 2.0), of(10, 1.0)], of(30, 3.0)) == ([30, 20, 10], [])
    known = [of(30, 3.0), of(20, 2.0), of(10, 1.0)]
    assert steps(known, of(40, 0.5)) == (
        [40, 30],
        ["blob_1_20", "blob_1_10"],
    )


def test_the_best_is_the_first_with_the_lowest_loss() -> None:
    assert best_of([of(30), of(20)]) is None
    best = best_of([of(40), of(30, 1.0), of(20, 1.0), of(10, 2.0)])
    assert best is not None and best.step == 20


def test_what_a_lost_run_did_beyond_goes_with_the_new_ones_first_step() -> None:
    known = [of(30, 0.1, fence=1), of(20, fence=1)]
    assert steps(known, of(25, fence=2)) == ([25, 20], ["blob_1_30"])
    assert steps(known, of(30, fence=2)) == ([30, 20], ["blob_1_30"])
