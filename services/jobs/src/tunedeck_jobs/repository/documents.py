"""How a job looks in MongoDB, and the expressions of its updates."""

from collections.abc import Sequence
from typing import Any

from tunedeck_chassis.mongo import Document
from tunedeck_contracts.datasets import ResolvedDataset
from tunedeck_contracts.events import JobEvent, JobEventType
from tunedeck_contracts.failures import Failure
from tunedeck_contracts.jobs import (
    Configuration,
    Job,
    LiveMetrics,
    ModelSaving,
    Result,
    Status,
    StoredArtifact,
    TrainingProgress,
)
from tunedeck_contracts.models import ResolvedModel
from tunedeck_contracts.training import LossPoint
from tunedeck_jobs.lifecycle import RULES, Change
from tunedeck_jobs.record import JobRecord, PendingEvent, Pinned, Submission

LIVING: Document = {"deleted_at": None}
"""The part of a query that leaves tombstones out."""


def new_document(job: Job, notes: Sequence[str], pinned: Pinned | None) -> Document:
    """The first version of a job: created, or created and queued in the same write.

    `notes` are the part of the job's problems that no start takes away.
    """
    document: Document = {
        "_id": job.uid,
        **job.model_dump(
            mode="python",
            by_alias=False,
            include={"name", "description", "tags", "problems", "created_at"},
        ),
        "notes": list(notes),
        "training_mode": job.training_mode.value,
        "configuration": job.configuration.model_dump(by_alias=False),
        "model_saving": job.model_saving.model_dump(by_alias=False),
        "training": job.training.model_dump(by_alias=False),
        "last_modified": job.created_at,
        "wanted": job.wanted.value,
        "rev": 0,
        "attempt": 0,
        "fence": 0,
        "lease": None,
        "pinned": None,
        "point": None,
        "failure": None,
        "result": None,
        "artifacts": [],
        "last_iteration": None,
        "reported_fence": None,
        "deleted_at": None,
        "outbox": [],
    }
    _record(document, Change.CREATE)
    if pinned is not None:
        document["pinned"] = pins(pinned)
        _record(document, Change.QUEUE)
    return document


def pins(pinned: Pinned) -> Document:
    """The pins as they are stored."""
    return {"model": pinned.model.model_dump(), "dataset": pinned.dataset.model_dump()}


def submission_of(submission: Submission, first: Job) -> Document:
    """What makes the first answer reproducible."""
    return {
        "owner": submission.owner,
        "key": submission.key,
        "body_sha256": submission.body_sha256,
        "job": first.to_json().decode(),
    }


def _record(document: Document, change: Change) -> None:
    rule = RULES[change]
    assert rule.target is not None
    document["rev"] += 1
    document["status"] = rule.target.value
    document["outbox"].append(
        {
            "rev": document["rev"],
            "type": rule.event.value,
            "at": document["created_at"],
            "status": rule.target.value,
            "fence": 0,
            "attempt": 0,
            "started_at": None,
            "ended_at": None,
            "last_iteration": None,
            "failure": None,
        }
    )


def change_pipeline(change: Change, set_fields: Document) -> list[Document]:
    """The update of one change: the fields, the next revision, and the event in the outbox.

    `set_fields` are aggregation expressions; a client's text in them must be
    under `$literal`, or a leading dollar would be read as a field's name.
    """
    rule = RULES[change]
    reached: Document = {"status": rule.target.value} if rule.target else {"deleted_at": "$$NOW"}
    return [
        {
            "$set": {
                **set_fields,
                **reached,
                "rev": {"$add": ["$rev", 1]},
                "last_modified": "$$NOW",
            }
        },
        {"$set": {"outbox": {"$concatArrays": ["$outbox", [_event_expression(rule.event)]]}}},
    ]


def _event_expression(event: JobEventType) -> Document:
    return {
        "rev": "$rev",
        "type": event.value,
        "at": "$$NOW",
        "status": "$status",
        "fence": "$fence",
        "attempt": "$attempt",
        "started_at": "$training.started_at",
        "ended_at": "$training.ended_at",
        "last_iteration": "$last_iteration",
        "failure": "$failure",
    }


def literal(value: Any) -> Document:
    """A value as it is, whatever it begins with."""
    return {"$literal": value}


def to_event(document: Document, entry: Document) -> PendingEvent:
    """An entry of the outbox as the event that is published."""
    return PendingEvent(
        JobEvent(
            uid=document["_id"],
            name=document["name"],
            training_mode=document["training_mode"],
            total_epochs=document["training"]["total_epochs"],
            **entry,
        )
    )


def to_record(document: Document) -> JobRecord:
    """The document as the domain has it."""
    pinned = document["pinned"]
    stored = tuple(StoredArtifact.model_validate(one) for one in document["artifacts"])
    return JobRecord(
        job=to_job(document),
        fence=document["fence"],
        pinned=Pinned(
            ResolvedModel.model_validate(pinned["model"]), ResolvedDataset.model_validate(pinned["dataset"])
        )
        if pinned
        else None,
        stored_artifacts=stored,
    )


def to_job(document: Document) -> Job:
    """The document as a client sees it."""
    return Job(
        uid=document["_id"],
        name=document["name"],
        description=document["description"],
        tags=document["tags"],
        status=Status(document["status"]),
        created_at=document["created_at"],
        last_modified=document["last_modified"],
        configuration=Configuration.model_validate(document["configuration"]),
        model_saving=ModelSaving.model_validate(document["model_saving"]),
        training=TrainingProgress.model_validate(document["training"]),
        training_mode=document["training_mode"],
        problems=[*document["problems"], *document.get("notes", [])],
        wanted=document["wanted"],
        rev=document["rev"],
        attempt=document["attempt"],
        failure=Failure.model_validate(document["failure"]) if document["failure"] else None,
        result=Result.model_validate(document["result"]) if document["result"] else None,
        artifacts=document["artifacts"],
        live_metrics=_live_metrics(document),
    )


def _live_metrics(document: Document) -> LiveMetrics | None:
    if document["status"] != Status.RUNNING or document["point"] is None:
        return None
    point = LossPoint.model_validate(document["point"])
    return LiveMetrics(
        current_loss=point.train_loss,
        validation_loss=point.validation_loss,
        current_epoch=point.epoch,
        current_step=point.step,
        last_updated=point.timestamp,
    )
