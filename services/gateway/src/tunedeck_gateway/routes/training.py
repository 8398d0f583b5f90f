"""`/api/training` and the live stream; these answer on both ports."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response, WebSocket

from tunedeck_contracts import rpc
from tunedeck_contracts.ids import checked_id
from tunedeck_contracts.jobs import TrainingMode
from tunedeck_contracts.telemetry import (
    GetCurrentLoss,
    GetCurrentResources,
    GetTrainingStatus,
    GetTrainingSummary,
    ListLosses,
    ListResources,
)
from tunedeck_contracts.training import LossPoint, ResourceSample
from tunedeck_contracts.training_mode import GetTrainingMode, SetMode
from tunedeck_gateway.bridge import Gateway, answer, documented, gateway_of
from tunedeck_gateway.live import LiveStream

router = APIRouter(tags=["Training"])
Here = Annotated[Gateway, Depends(gateway_of)]
JobId = Annotated[str | None, Query(description="A job's uid; by default the job started last.")]
LastN = Annotated[int, Query(ge=1, le=10_000, description="How many, counted from the newest.")]


def _job(job_id: str | None) -> str | None:
    return None if job_id is None else checked_id("job", job_id)


@router.get("/api/training/losses", **{**documented(rpc.LOSS_LIST, 404), "response_model": list[LossPoint]})
async def list_losses(gateway: Here, last_n: LastN = 20, job_id: JobId = None) -> Response:
    """The newest loss points, oldest first."""
    return await answer(gateway, rpc.LOSS_LIST, ListLosses(job_id=_job(job_id), last_n=last_n))


@router.get("/api/training/losses/current", **documented(rpc.LOSS_CURRENT, 404))
async def get_current_loss(gateway: Here, job_id: JobId = None) -> Response:
    """The newest loss point."""
    return await answer(gateway, rpc.LOSS_CURRENT, GetCurrentLoss(job_id=_job(job_id)))


@router.get(
    "/api/training/resources",
    **{**documented(rpc.RESOURCE_LIST, 404), "response_model": list[ResourceSample]},
)
async def list_resources(gateway: Here, last_n: LastN = 20, job_id: JobId = None) -> Response:
    """The newest samples of the hardware, oldest first."""
    return await answer(gateway, rpc.RESOURCE_LIST, ListResources(job_id=_job(job_id), last_n=last_n))


@router.get("/api/training/resources/current", **documented(rpc.RESOURCE_CURRENT, 404))
async def get_current_resources(gateway: Here, job_id: JobId = None) -> Response:
    """The newest sample of the hardware."""
    return await answer(gateway, rpc.RESOURCE_CURRENT, GetCurrentResources(job_id=_job(job_id)))


@router.get("/api/training/status/{job_id}", **documented(rpc.STATUS_GET, 404))
async def get_training_status(
    gateway: Here, job_id: Annotated[str, Path(description="A job's uid.")]
) -> Response:
    """How far a job is; for every known job, also before it trains."""
    return await answer(gateway, rpc.STATUS_GET, GetTrainingStatus(job_id=checked_id("job", job_id)))


@router.get("/api/training/summary", **documented(rpc.SUMMARY_GET, 404))
async def get_training_summary(gateway: Here, job_id: JobId = None) -> Response:
    """Loss, hardware and progress of one job in one answer."""
    return await answer(gateway, rpc.SUMMARY_GET, GetTrainingSummary(job_id=_job(job_id)))


@router.get("/api/training/mode", **documented(rpc.TRAINING_MODE_GET))
async def get_training_mode(gateway: Here) -> Response:
    """The mode of new jobs that do not say one, and how far the job started last is."""
    return await answer(gateway, rpc.TRAINING_MODE_GET, GetTrainingMode())


@router.post("/api/training/mode/{mode}", **documented(rpc.MODE_SET))
async def set_training_mode(
    gateway: Here, mode: Annotated[TrainingMode, Path(description="The mode to set.")]
) -> Response:
    """Set the mode of new jobs that do not say one; nothing stored changes."""
    return await answer(gateway, rpc.MODE_SET, SetMode(mode=mode))


@router.websocket("/ws/training/{job_id}")
async def live(
    websocket: WebSocket,
    job_id: str,
    after: Annotated[int, Query(ge=0, description="The last `seq` that the client has.")] = 0,
    v: Annotated[
        int, Query(ge=0, le=1, description="1: typed frames, with status, logs and heartbeats.")
    ] = 0,
) -> None:
    """A job's points, from history and then live, without a gap or a duplicate."""
    gateway: Gateway = websocket.app.state.gateway
    await LiveStream(websocket, gateway.bus, job_id, after=after, typed=v == 1).run()
