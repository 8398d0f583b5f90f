"""How a job looks in MongoDB, and the expressions of its updates."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from tunedeck_chassis.mongo import Document
from tunedeck_contracts.checkpoints import Checkpoint
from tunedeck_contracts.datasets import ResolvedDataset
from tunedeck_contracts.estimates import Actual, BatchSplit, Estimate, JobEstimate, Probed
from tunedeck_contracts.events import JobEvent
from tunedeck_contracts.failures import Failure
from tunedeck_contracts.jobs import Configuration, Job, LiveMetrics, Result, Status, TrainingProgress
from tunedeck_contracts.model_saving import HubPush, ModelSaving, StoredArtifact
from tunedeck_contracts.models import ResolvedModel
from tunedeck_contracts.runs import Beat
from tunedeck_contracts.training import LogLine, LossPoint
from tunedeck_jobs.lifecycle import RULES, Change
from tunedeck_jobs.record import JobRecord, NewJob, Pinned, Submission

READ: Document = dict.fromkeys(("outbox", "events", "log"), False)
"""What `to_record` needs not read."""

LISTED: Document = {**READ, "checkpoints": False}
"""What a list of many jobs leaves out."""

_LATER: Document = {
    "priority": 0,
    "deadline": None,
    "device": None,
    "retry_of": None,
    "events": [],
    "checkpoints": [],
    "newest_step": 0,
    "resume_step": 0,
    "lost": 0,
    "not_before": None,
    "log": [],
    "released": [],
    "predicted": None,
    "batch_split": None,
    "stop_after_steps": None,
    "hub_push": None,
}
"""Fields that jobs of former versions lack, as they are there in a job that never used them."""


def upgrades() -> list[tuple[Document, Document]]:
    """Filters and updates that give jobs of former versions what they lack, once."""
    return [({name: {"$exists": False}}, {"$set": {name: value}}) for name, value in _LATER.items()]


def new_document(new: NewJob) -> Document:
    """The first version of a job: created, or created and queued in the same write."""
    job, checkpoint = new.job, new.checkpoint
    document: Document = {
        "_id": job.uid,
        **job.model_dump(
            mode="python",
            by_alias=False,
            include={"name", "description", "tags", "problems", "created_at", "deadline", "retry_of"},
        ),
        "notes": list(new.notes),
        "training_mode": job.training_mode.value,
        "configuration": job.configuration.model_dump(by_alias=False),
        "model_saving": job.model_saving.model_dump(by_alias=False),
        "training": job.training.model_dump(by_alias=False),
        "last_modified": job.created_at,
        "wanted": job.wanted.value,
        "priority": job.priority,
        "device": job.device.value if job.device else None,
        "stop_after_steps": job.stop_after_steps,
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
        "reported_outcome": None,
        "deleted_at": None,
        "outbox": [],
    }
    document = {**deepcopy(_LATER), **document}
    if checkpoint is not None:
        document |= {"checkpoints": [checkpoint.model_dump()], "newest_step": checkpoint.step}
    _record(document, Change.CREATE)
    if new.pinned is not None:
        document["pinned"] = pins(new.pinned)
        _record(document, Change.QUEUE)
    if new.submission is not None:
        document["submission"] = _submission_of(new.submission, to_job(document))
    return document


def pins(pinned: Pinned) -> Document:
    """The pins as they are stored."""
    return {"model": pinned.model.model_dump(), "dataset": pinned.dataset.model_dump()}


def _submission_of(submission: Submission, first: Job) -> Document:
    """What makes the first answer reproducible."""
    return {
        "owner": submission.owner,
        "key": submission.key,
        "body_sha256": submission.body_sha256,
        "job": first.to_json().decode(),
    }


def _record(document: Document, change: Change) -> None:
    rule = RULES[change]
    assert isinstance(rule.target, Status)
    document["rev"] += 1
    document["status"] = rule.target.value
    told = {
        "rev": document["rev"],
        "type": rule.event.value,
        "at": document["created_at"],
        "status": rule.target.value,
        "fence": 0,
        "attempt": 0,
        "resume_step": 0,
        "wanted": document["wanted"],
        "priority": document["priority"],
        "deadline": document["deadline"],
        "checkpoint_step": document["newest_step"] or None,
        "started_at": None,
        "ended_at": None,
        "last_iteration": None,
        "failure": None,
        "batch_split": None,
    }
    document["events"].append(told)
    document["outbox"].append(told)


def progress(beat: Beat) -> Document:
    """What a beat says of its run, as expressions; before the first step what was known stays."""
    fields: Document = {"training.phase": beat.phase.value}
    if beat.total_steps and beat.step:
        fields |= {
            "training.progress": round(min(100.0 * beat.step / beat.total_steps, 100.0), 1),
            "training.current_step": beat.step,
            "training.total_steps": beat.total_steps,
            "training.current_epoch": beat.epoch,
            "training.total_epochs": {"$max": ["$training.total_epochs", beat.total_epochs]},
        }
    fields |= predicted(beat.probed)
    if beat.point is not None:
        fields["point"] = literal(beat.point.model_dump())
    return fields | last_lines(beat.log)


def last_lines(lines: Sequence[LogLine]) -> Document:
    """The newest lines of a run's log, as an expression; those that are kept stay where there are none."""
    return {"log": literal([line.model_dump() for line in lines])} if lines else {}


def predicted(probed: Probed | None) -> Document:
    """What a run's probe has predicted, as expressions; with another split both are kept by `adjusted`, for a
    later attempt must not get the one without the other."""
    if probed is None:
        return {}
    found = literal(probed.predicted.model_dump(by_alias=False))
    if probed.split is None:
        return {"predicted": found}
    size, again = probed.split.micro_batch_size, probed.split.gradient_checkpointing
    is_known = {
        "$and": [
            {"$eq": ["$batch_split.micro_batch_size", size]},
            {"$eq": ["$batch_split.gradient_checkpointing", again]},
        ]
    }
    return {"predicted": {"$cond": [is_known, found, "$predicted"]}}


def adjusted(probed: Probed) -> Document:
    """What a run's probe has predicted and changed, as expressions."""
    found = {"predicted": probed.predicted, "batch_split": probed.split}
    return {name: literal(one.model_dump(by_alias=False)) for name, one in found.items() if one is not None}


def literal(value: Any) -> Document:
    """A value as it is, whatever it begins with."""
    return {"$literal": value}


EVENT_FIELDS = {"name": True, "training_mode": True, "training.total_epochs": True}
"""What `to_event` reads beside an entry."""


def to_event(document: Document, entry: Document) -> JobEvent:
    """An entry of the history or the outbox as the event that is published."""
    return JobEvent(
        uid=document["_id"],
        name=document["name"],
        training_mode=document["training_mode"],
        total_epochs=document["training"]["total_epochs"],
        **entry,
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
        resume_step=document["resume_step"],
        probed=_probed(document),
        checkpoints=tuple(Checkpoint.model_validate(one) for one in document.get("checkpoints", [])),
        released=tuple(document["released"]),
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
        priority=document["priority"],
        deadline=document["deadline"],
        device=document["device"],
        retry_of=document["retry_of"],
        failure=Failure.model_validate(document["failure"]) if document["failure"] else None,
        result=Result.model_validate(document["result"]) if document["result"] else None,
        artifacts=document["artifacts"],
        estimate=_estimate(document),
        batch_split=_batch_split(document),
        stop_after_steps=document["stop_after_steps"],
        hub_push=HubPush.model_validate(document["hub_push"]) if document["hub_push"] else None,
        live_metrics=_live_metrics(document),
    )


def _predicted(document: Document) -> Estimate | None:
    return Estimate.model_validate(document["predicted"]) if document["predicted"] else None


def _batch_split(document: Document) -> BatchSplit | None:
    return BatchSplit.model_validate(document["batch_split"]) if document["batch_split"] else None


def _probed(document: Document) -> Probed | None:
    found = _predicted(document)
    return Probed(predicted=found, split=_batch_split(document)) if found is not None else None


def _estimate(document: Document) -> JobEstimate | None:
    found, result = _predicted(document), document["result"]
    if found is None:
        return None
    figures = ("seconds", "peak_memory_bytes", "energy_watt_hours")
    actual = Actual(**{name: result.get(name) for name in figures}) if result else None
    return JobEstimate(predicted=found, actual=actual)


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
