"""What a run's beats say of its log."""

from pathlib import Path
from typing import Any

from tests.unit.trainer.place import SHORT, Place
from tunedeck_contracts.jobs import LOG_LINES_KEPT
from tunedeck_trainer.delivery import Delivery
from tunedeck_trainer.spool import Spool
from tunedeck_trainer.telling import Telling


def test_the_last_lines_are_told_until_a_beat_is_answered_also_when_the_spool_is_full(
    place: Place, tmp_path: Path
) -> None:
    run = place.run(SHORT)
    bus: Any = None
    spool = Spool(tmp_path / "spool.db", most_bytes=300)
    delivery = Delivery(spool, bus, job_uid=run.job_uid, fence=run.fence, source="/trainer/trainer_1")
    telling = Telling(run, spool, delivery, place.around.hardware)

    def told() -> list[str]:
        beat = telling.beat()
        telling.kept(beat)
        return [line.text for line in beat.log]

    assert told() == []
    telling.line("info", "first")
    assert [line.text for line in telling.beat().log] == ["first"], "nobody has answered yet"
    assert told() == ["first"]
    assert told() == []
    for number in range(LOG_LINES_KEPT + 10):
        telling.line("info", f"line {number}")
        assert told()[-1] == f"line {number}"
    assert len(telling.beat().log) == 0
    assert len(telling.last_lines) == LOG_LINES_KEPT
    spool.close()
