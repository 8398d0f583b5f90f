"""The one update that makes a change of a job: its effects, the next revision, and its event."""

from tunedeck_chassis.mongo import Document
from tunedeck_contracts.events import JobEventType
from tunedeck_contracts.failures import FailureCode, failure
from tunedeck_contracts.job_changes import EVENTS_KEPT
from tunedeck_contracts.jobs import Status, Wanted
from tunedeck_contracts.model_saving import PushState
from tunedeck_jobs.lifecycle import RULES, Change, Reached
from tunedeck_jobs.repository.documents import literal

_FREE: Document = {"lease": None, "training.phase": None}
_ENDED: Document = {**_FREE, "training.ended_at": "$$NOW"}
_FENCED: Document = {"fence": {"$add": ["$fence", 1]}}
_GONE_ON: Document = {"$gt": [{"$first": "$checkpoints.fence"}, 0]}

_STEP: Document = {"$ifNull": [{"$first": "$checkpoints.step"}, 0]}
_TOTAL = "$training.total_steps"
_PERCENT: Document = {"$round": [{"$divide": [{"$multiply": [100.0, _STEP]}, _TOTAL]}, 1]}
_RESUMABLE: Document = {
    "training.current_step": _STEP,
    "training.progress": {"$cond": [{"$gte": [_TOTAL, {"$max": [_STEP, 1]}]}, _PERCENT, 0.0]},
}
"""How far a job is that goes on from its newest checkpoint."""

WAITING_PUSH: Document = {
    "state": PushState.WAITING.value,
    "repository": "$model_saving.model_name",
    "public": {"$ifNull": ["$model_saving.make_public", False]},
    "claims": {"$ifNull": ["$hub_push.claims", 0]},
    "at": "$$NOW",
}
"""The files of a job that a trainer is to send to the Hub."""

_IS_WHOLE: Document = {"$not": [{"$ifNull": ["$stop_after_steps", False]}]}
_IS_PUSHED: Document = {"$and": ["$model_saving.push_to_hub", "$model_saving.save_model", _IS_WHOLE]}

EFFECTS: dict[Change, Document] = {
    Change.CLAIM: {
        "fence": {"$add": ["$fence", 1]},
        "attempt": {"$add": ["$attempt", 1]},
        "point": None,
        "resume_step": {"$cond": [_GONE_ON, {"$first": "$checkpoints.iteration"}, 0]},
        "training.started_at": {"$ifNull": ["$training.started_at", "$$NOW"]},
        "training.phase": "preparing",
        **_RESUMABLE,
    },
    Change.WANT_PAUSE: {"wanted": Wanted.PAUSE.value},
    Change.WITHDRAW_PAUSE: {"wanted": Wanted.RUN.value},
    Change.WANT_CANCEL: {"wanted": Wanted.CANCEL.value},
    Change.PAUSE: {**_FREE, **_RESUMABLE},
    Change.RESUME: {"wanted": Wanted.RUN.value},
    Change.YIELD: {**_FREE, **_RESUMABLE},
    Change.REQUEUE: {**_FREE, **_RESUMABLE, "lost": {"$add": ["$lost", 1]}},
    Change.GIVE_UP: {**_ENDED, "failure": literal(failure(FailureCode.LOST_WORKER).model_dump(mode="json"))},
    Change.CANCEL_WAITING: {**_ENDED, "wanted": Wanted.CANCEL.value},
    Change.CANCEL_RUNNING: _ENDED,
    # Nobody tries a completed job again: its checkpoints go.
    Change.COMPLETE: {
        **_ENDED,
        "released": {"$concatArrays": ["$released", "$checkpoints.blob.id"]},
        "checkpoints": [],
        "hub_push": {"$cond": [_IS_PUSHED, WAITING_PUSH, None]},
    },
    Change.FAIL: _ENDED,
    Change.EXPIRE: {
        **_ENDED,
        **_FENCED,
        "failure": literal(failure(FailureCode.DEADLINE_EXCEEDED).model_dump(mode="json")),
    },
}
"""What follows from a change whoever makes it, as expressions on the document before it."""


def change_pipeline(change: Change, set_fields: Document, *, raise_fence: bool = False) -> list[Document]:
    """The update of one change: the fields, the next revision, and the event in history and outbox.

    `set_fields` are aggregation expressions; a client's text in them must be
    under `$literal`, or a leading dollar would be read as a field's name.
    """
    fields = {**EFFECTS.get(change, {}), **(_FENCED if raise_fence else {}), **set_fields, **_reached(change)}
    told = [_event_expression(RULES[change].event)]
    return [
        {"$set": {**fields, "rev": {"$add": ["$rev", 1]}, "last_modified": "$$NOW"}},
        {
            "$set": {
                "outbox": {"$concatArrays": ["$outbox", told]},
                "events": {"$slice": [{"$concatArrays": ["$events", told]}, -EVENTS_KEPT]},
            }
        },
    ]


def _reached(change: Change) -> Document:
    target = RULES[change].target
    if isinstance(target, Status):
        return {"status": target.value}
    return {"deleted_at": "$$NOW"} if target is Reached.GONE else {}


def _event_expression(event: JobEventType) -> Document:
    return {
        "rev": "$rev",
        "type": event.value,
        "at": "$$NOW",
        "status": "$status",
        "fence": "$fence",
        "attempt": "$attempt",
        "resume_step": "$resume_step",
        "wanted": "$wanted",
        "priority": "$priority",
        "deadline": "$deadline",
        "checkpoint_step": {"$ifNull": [{"$first": "$checkpoints.step"}, None]},
        "started_at": "$training.started_at",
        "ended_at": "$training.ended_at",
        "last_iteration": "$last_iteration",
        "failure": "$failure",
        "batch_split": "$batch_split",
    }
