"""Jobs as CSV for people: one row a job, safe to open in a spreadsheet."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Iterable

from tunedeck_contracts.jobs import Job

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\0")
_COLUMNS = (
    "uid",
    "name",
    "description",
    "tags",
    "status",
    "trainingMode",
    "createdAt",
    "lastModified",
    "startedAt",
    "endedAt",
    "model",
    "dataset",
    "hyperparameters",
    "learning_rate",
    "batch_size",
    "epochs",
    "max_steps",
    "progress",
    "validationLossBefore",
    "validationLossAfter",
    "seconds",
    "failure",
    "priority",
    "deadline",
    "device",
    "retryOf",
)


async def to_csv(batches: AsyncIterator[list[Job]]) -> str:
    """A header and a row a job (RFC 4180), written beside the event loop."""
    lines = [_text([_COLUMNS])]
    async for jobs in batches:
        lines.append(await asyncio.to_thread(_lines, jobs))
    return "".join(lines)


def _lines(jobs: list[Job]) -> str:
    return _text([_cell(value) for value in _row(job)] for job in jobs)


def _text(rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _row(job: Job) -> tuple[object, ...]:
    shown = job.model_dump(mode="json", include={"created_at", "last_modified", "training", "deadline"})
    settings, result = job.configuration.hyperparameters, job.result
    return (
        job.uid,
        job.name,
        job.description,
        ", ".join(job.tags),
        job.status.value,
        job.training_mode.value,
        shown["createdAt"],
        shown["lastModified"],
        shown["training"]["startedAt"],
        shown["training"]["endedAt"],
        job.configuration.model.uid,
        job.configuration.dataset.uid,
        settings.uid,
        settings.learning_rate,
        settings.batch_size,
        settings.epochs,
        settings.max_steps,
        job.training.progress,
        result.validation_loss_before if result else None,
        result.validation_loss_after if result else None,
        result.seconds if result else None,
        job.failure.detail if job.failure else None,
        job.priority,
        shown["deadline"],
        job.device.value if job.device else None,
        job.retry_of,
    )


def _cell(value: object) -> object:
    """A text that a spreadsheet would take for a formula gets an apostrophe (OWASP, CSV injection)."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value
