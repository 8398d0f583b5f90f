"""Points on disk until they are stored."""

from pathlib import Path

from tunedeck_contracts.subjects import TrainingKind
from tunedeck_contracts.telemetry import Stored
from tunedeck_trainer.spool import Spool

LOSS, LOG = TrainingKind.LOSS, TrainingKind.LOG


def filled(file: Path) -> Spool:
    spool = Spool(file, most_bytes=1000)
    for number in (1, 2, 3):
        assert spool.add(LOSS, number, b"loss")
        assert spool.add(LOG, number, b"log")
    return spool


def test_points_come_back_in_the_order_they_went_in(tmp_path: Path) -> None:
    spool = filled(tmp_path / "spool.db")
    points = spool.after(0, 100)
    assert [(one.kind, one.number) for one in points] == [(k, n) for n in (1, 2, 3) for k in (LOSS, LOG)]
    assert spool.after(points[3].place, 1)[0].number == 3


def test_a_watermark_frees_each_kind_for_itself(tmp_path: Path) -> None:
    spool = filled(tmp_path / "spool.db")
    spool.free(Stored(losses=2, resources=0, logs=3))
    assert [(one.kind, one.number) for one in spool.after(0, 100)] == [(LOSS, 3)]
    assert spool.freed() == Stored(losses=2, resources=0, logs=3)
    assert not spool.is_empty()
    last = spool.newest()
    assert spool.add(LOSS, 4, b"loss")
    spool.free(Stored(losses=3, resources=0, logs=3))
    assert spool.is_stored(last)
    assert not spool.is_stored(spool.newest())
    spool.free(Stored(losses=4, resources=0, logs=3))
    assert spool.is_empty()


def test_an_older_watermark_takes_nothing_back(tmp_path: Path) -> None:
    spool = filled(tmp_path / "spool.db")
    spool.free(Stored(losses=2, resources=0, logs=0))
    spool.free(Stored(losses=1, resources=0, logs=0))
    assert spool.freed().losses == 2


def test_it_survives_a_restart(tmp_path: Path) -> None:
    filled(tmp_path / "spool.db").free(Stored(losses=1, resources=0, logs=0))
    again = Spool(tmp_path / "spool.db", most_bytes=1000)
    assert [one.number for one in again.after(0, 100) if one.kind is LOSS] == [2, 3]
    assert again.last(LOSS) == 3
    assert again.freed().losses == 1


def test_a_full_kind_refuses_until_it_is_freed_and_leaves_the_others_alone(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", most_bytes=10)
    assert spool.add(LOG, 1, b"x" * 10)
    assert not spool.add(LOG, 2, b"x")
    assert spool.last(LOG) == 1
    assert spool.add(LOSS, 1, b"x")
    spool.free(Stored(losses=0, resources=0, logs=1))
    assert spool.add(LOG, 2, b"x")
