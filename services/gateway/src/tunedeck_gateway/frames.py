"""The frames of the live stream, in api.md's shape with keys beside."""

import json
from typing import Any

from tunedeck_contracts.message import Message, utc_now
from tunedeck_contracts.training import LogLine, LossPoint, ResourceSample

_TRAINING_KEYS = {
    "iteration",
    "epoch",
    "step",
    "train_loss",
    "validation_loss",
    "learning_rate",
    "batch_size",
    "grad_norm",
    "tokens",
    "tokens_per_second",
    "nonfinite",
}


def _plain(message: Message, include: set[str] | None = None, exclude: set[str] | None = None) -> Any:
    return message.model_dump(mode="json", include=include, exclude=exclude)


def point_frame(
    *,
    job_id: str,
    seq: int,
    fence: int,
    training_mode: str,
    total: int,
    point: LossPoint,
    resources: ResourceSample,
    is_completed: bool = False,
) -> dict[str, Any]:
    """One point in the full shape that api.md documents."""
    return {
        "job_id": job_id,
        "timestamp": _plain(point)["timestamp"],
        "training_mode": training_mode,
        "is_completed": is_completed,
        "training": _plain(point, include=_TRAINING_KEYS),
        "resources": _plain(resources, exclude={"timestamp", "iteration"}),
        "iteration": point.iteration,
        "total": total,
        "seq": seq,
        "fence": fence,
        "type": "point",
    }


def typed_frame(kind: str, job_id: str, seq: int, **fields: Any) -> dict[str, Any]:
    """A frame that only clients with `?v=1` get."""
    return {"type": kind, "job_id": job_id, "seq": seq, "timestamp": _iso_now(), **fields}


def log_fields(line: LogLine, fence: int) -> dict[str, Any]:
    """The fields of a log frame."""
    return {"fence": fence, "line": _plain(line)}


def encode(frame: dict[str, Any]) -> str:
    """The frame as text; a number that is not finite would be a defect, and raises."""
    return json.dumps(frame, allow_nan=False, separators=(",", ":"))


def _iso_now() -> str:
    return utc_now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
