"""Sets jobs side by side."""

from typing import Any

from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.job_lists import JobComparison, JobSummary
from tunedeck_contracts.jobs import Job
from tunedeck_contracts.message import utc_now
from tunedeck_jobs.record import JobRecord


def compare(records: list[JobRecord]) -> JobComparison:
    """The jobs in their order, and what differs between them."""
    return JobComparison(
        jobs=[_summary(record.job) for record in records],
        differences=_differences([record.job for record in records]),
        same_model=len({_model(record) for record in records}) == 1,
        same_dataset=len({_dataset(record) for record in records}) == 1,
    )


def _summary(job: Job) -> JobSummary:
    began, ended = job.training.started_at, job.training.ended_at
    loss = job.live_metrics.validation_loss if job.live_metrics else None
    return JobSummary(
        uid=job.uid,
        name=job.name,
        status=job.status,
        training_mode=job.training_mode,
        model=job.configuration.model,
        dataset=job.configuration.dataset,
        started_at=began,
        ended_at=ended,
        seconds=((ended or utc_now()) - began).total_seconds() if began else None,
        validation_loss=job.result.validation_loss_after if job.result else loss,
        live_metrics=job.live_metrics,
        result=job.result,
        failure=job.failure,
    )


def _differences(jobs: list[Job]) -> dict[str, dict[str, Any]]:
    settings = {job.uid: job.configuration.hyperparameters.model_dump(mode="json") for job in jobs}
    found: dict[str, dict[str, Any]] = {}
    for field in Hyperparameters.model_fields:
        values = {uid: of_job[field] for uid, of_job in settings.items()}
        if any(value != values[jobs[0].uid] for value in values.values()):
            found[field] = values
    return found


def _model(record: JobRecord) -> tuple[str, str]:
    if record.pinned is None:
        return record.job.configuration.model.uid, ""
    return record.pinned.model.uid, record.pinned.model.revision


def _dataset(record: JobRecord) -> str:
    return record.pinned.dataset.rows_sha256 if record.pinned else record.job.configuration.dataset.uid
