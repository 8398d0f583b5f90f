"""Previews as the trainer gives them: what it says where there is none, and what it leaves behind."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.trainer.child_runs import a_run
from tests.unit.trainer.place import Place
from tunedeck_contracts import rpc
from tunedeck_contracts.errors import Conflict, NotFound, Unavailable
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.jobs import Status
from tunedeck_contracts.plans import Plan
from tunedeck_trainer.previews import Previews
from tunedeck_trainer.side_process import SideProcesses

UID = "job_1_aaaa"


def previews(place: Place, seconds: float = 60.0, **changed: Any) -> Previews:
    """With a job whose plan the jobs service knows."""
    run = place.run(Hyperparameters())
    plan = Plan(
        job_uid=UID,
        model=run.model,
        dataset=run.dataset,
        hyperparameters=run.hyperparameters,
        status=Status.CREATED,
    ).model_copy(update=changed)

    async def request(asked: rpc.Rpc[Any, Any], message: Any) -> Any:
        assert asked is rpc.PLAN_GET
        if message.uid != UID:
            raise NotFound(f"There is no job {message.uid!r}.")
        return plan

    place.bus.request = request  # type: ignore[method-assign]
    return Previews(place.around, SideProcesses(), seconds)


def left(place: Place) -> list[Path]:
    return list(place.settings.work_dir.glob("previews/*"))


async def test_what_takes_too_long_is_given_up_with_what_to_do(place: Place) -> None:
    with pytest.raises(Unavailable, match=r"not ready within 0\.5 s: .* all 30 rows .* Ask again") as refused:
        await previews(place, seconds=0.5).of_job(UID)
    assert UID in refused.value.detail
    assert left(place) == []


async def test_rows_that_are_gone_or_others_are_refused_by_the_trainer_itself(place: Place) -> None:
    others = a_run(Hyperparameters()).dataset
    with pytest.raises(Conflict, match="not those that the job pinned"):
        await previews(place, dataset=others).of_job(UID)
    with pytest.raises(Conflict, match="are gone"):
        await previews(place, dataset=others.model_copy(update={"rows_blob": "none"})).of_job(UID)
    assert left(place) == []


async def test_a_job_that_nobody_knows_has_none(place: Place) -> None:
    with pytest.raises(NotFound, match="job_2"):
        await previews(place).of_job("job_2")


def test_rows_of_a_former_process_are_removed(place: Place) -> None:
    old = place.settings.work_dir / "previews" / "old"
    old.mkdir(parents=True)
    (old / "rows.jsonl").write_text("{}")
    previews(place)
    assert left(place) == []
