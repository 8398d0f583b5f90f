"""What an event, or the jobs service, says of a job."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tunedeck_contracts.errors import NotFound
from tunedeck_contracts.events import JobEvent, JobEventType
from tunedeck_contracts.jobs import Job, Status, TrainingProgress
from tunedeck_telemetry.ownership import Tenure
from tunedeck_telemetry.projection import Directory, KnownJob, from_event, from_job

AT = datetime(2026, 1, 2, tzinfo=UTC)


def event(kind: JobEventType, status: Status, **more: Any) -> JobEvent:
    fields = {"uid": "job_1", "rev": 3, "name": "n", "training_mode": "manual", "fence": 2, "attempt": 1}
    return JobEvent.model_validate({**fields, "type": kind, "at": AT, "status": status, **more})


def job() -> Job:
    return Job.model_validate(
        {
            "uid": "job_1",
            "name": "n",
            "description": "",
            "tags": [],
            "status": "queued",
            "created_at": AT,
            "last_modified": AT,
            "configuration": {
                "model": {"uid": "m"},
                "dataset": {"uid": "d"},
                "hyperparameters": {"uid": "h"},
            },
            "model_saving": {},
            "training": {"total_epochs": 3},
            "problems": [],
            "wanted": "run",
            "rev": 2,
            "attempt": 0,
        }
    )


def test_a_started_run_is_a_tenure_from_its_resume_step() -> None:
    known = from_event(event(JobEventType.STARTED, Status.RUNNING, resume_step=3))
    assert known.tenures == (Tenure(2, 3),)


def test_a_run_that_falls_back_tells_an_earlier_tenure_of_the_same_fence() -> None:
    known = from_event(event(JobEventType.FELL_BACK, Status.RUNNING, resume_step=1))
    assert known.tenures == (Tenure(2, 1),)


@pytest.mark.parametrize(
    ("kind", "status"), [(JobEventType.PAUSED, Status.PAUSED), (JobEventType.RESUMED, Status.QUEUED)]
)
def test_a_job_that_waits_has_no_run(kind: JobEventType, status: Status) -> None:
    known = from_event(event(kind, status, resume_step=7))
    assert (known.status, known.tenures) == (status, ())


def test_a_requeue_raises_the_fence_but_nobody_holds_it() -> None:
    known = from_event(event(JobEventType.REQUEUED, Status.QUEUED))
    assert (known.fence, known.tenures) == (2, ())


def test_the_end_says_which_point_was_the_last() -> None:
    known = from_event(event(JobEventType.COMPLETED, Status.COMPLETED, ended_at=AT, last_iteration=30))
    assert (known.last_iteration, known.ended_at) == (30, AT)


def test_a_job_without_events_is_known_from_the_jobs_service() -> None:
    known = from_job(job())
    assert (known.status, known.rev, known.total_epochs, known.tenures) == (Status.QUEUED, 2, 3, ())


def test_of_a_completed_job_without_events_the_last_point_is_that_of_its_last_step() -> None:
    training = TrainingProgress(total_epochs=3, current_step=40)
    ended = job().model_copy(update={"status": Status.COMPLETED, "training": training})
    assert from_job(ended).last_iteration == 40
    assert from_job(ended.model_copy(update={"status": Status.FAILED})).last_iteration is None


class Nothing:
    """A projection that holds nothing."""

    async def known(self, uid: str) -> KnownJob | None:
        return None

    async def project(self, known: KnownJob) -> None:
        raise AssertionError("nothing is projected by a read")

    async def started_last(self) -> KnownJob | None:
        return None


class AnsweringBus:
    """The jobs service, reduced to one answer."""

    def __init__(self, answer: Job | Exception) -> None:
        self._answer = answer

    async def request(self, *_: object, **__: object) -> Job:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


async def test_a_job_whose_events_lag_is_found_and_one_that_is_not_there_is_not() -> None:
    found = await Directory(Nothing(), AnsweringBus(job())).find("job_1")  # type: ignore[arg-type]
    assert found.uid == "job_1"
    with pytest.raises(NotFound):
        await Directory(Nothing(), AnsweringBus(NotFound("no"))).find("job_2")  # type: ignore[arg-type]


async def test_before_any_job_has_started_there_is_no_focus() -> None:
    assert await Directory(Nothing(), AnsweringBus(job())).focus(None) is None  # type: ignore[arg-type]
