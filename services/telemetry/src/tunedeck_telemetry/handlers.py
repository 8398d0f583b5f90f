"""What telemetry takes and answers: decode, call, encode."""

from typing import Annotated

from faststream import Context

from tunedeck_chassis.broker import event_handler, request_handler
from tunedeck_chassis.requests import Router
from tunedeck_contracts import rpc
from tunedeck_contracts.events import JobEvent
from tunedeck_contracts.streams import TELEMETRY_JOBS
from tunedeck_contracts.telemetry import (
    ForgetJob,
    Forgotten,
    GetCurrentLoss,
    GetCurrentResources,
    GetHistory,
    GetStored,
    GetTrainingStatus,
    GetTrainingSummary,
    History,
    ListLogs,
    ListLosses,
    ListResources,
    LogList,
    LossList,
    ResourceList,
    Stored,
    TrainingStatus,
    TrainingSummary,
)
from tunedeck_contracts.training import LossPoint, ResourceSample
from tunedeck_contracts.training_mode import GetTrainingMode, TrainingModeShown
from tunedeck_telemetry.curves import Curves
from tunedeck_telemetry.ingest import Ingest
from tunedeck_telemetry.summaries import Summaries

router = Router()

CurvesContext = Annotated[Curves, Context("curves")]
SummariesContext = Annotated[Summaries, Context("summaries")]
IngestContext = Annotated[Ingest, Context("ingest")]


@event_handler(router, TELEMETRY_JOBS)
async def on_job_event(body: bytes, ingest: IngestContext) -> None:
    """A job has changed."""
    await ingest.job_event(JobEvent.model_validate_json(body))


@request_handler(router, rpc.LOSS_LIST)
async def losses(message: ListLosses, curves: CurvesContext) -> LossList:
    """`GET /api/training/losses`."""
    return LossList(points=await curves.losses(message.job_id, message.last_n))


@request_handler(router, rpc.LOSS_CURRENT)
async def current_loss(message: GetCurrentLoss, curves: CurvesContext) -> LossPoint:
    """`GET /api/training/losses/current`."""
    return (await curves.losses(message.job_id, 1))[-1]


@request_handler(router, rpc.RESOURCE_LIST)
async def resources(message: ListResources, curves: CurvesContext) -> ResourceList:
    """`GET /api/training/resources`."""
    return ResourceList(samples=await curves.resources(message.job_id, message.last_n))


@request_handler(router, rpc.RESOURCE_CURRENT)
async def current_resources(message: GetCurrentResources, curves: CurvesContext) -> ResourceSample:
    """`GET /api/training/resources/current`."""
    return (await curves.resources(message.job_id, 1))[-1]


@request_handler(router, rpc.STATUS_GET)
async def status(message: GetTrainingStatus, summaries: SummariesContext) -> TrainingStatus:
    """`GET /api/training/status/{job_id}`."""
    return await summaries.status(message.job_id)


@request_handler(router, rpc.SUMMARY_GET)
async def summary(message: GetTrainingSummary, summaries: SummariesContext) -> TrainingSummary:
    """`GET /api/training/summary`."""
    return await summaries.summary(message.job_id)


@request_handler(router, rpc.TRAINING_MODE_GET)
async def mode(message: GetTrainingMode, summaries: SummariesContext) -> TrainingModeShown:
    """`GET /api/training/mode`."""
    return await summaries.mode()


@request_handler(router, rpc.JOB_FORGET)
async def forget(message: ForgetJob, ingest: IngestContext) -> Forgotten:
    """A job is deleted."""
    return Forgotten(points=await ingest.forget(message.job_id))


@request_handler(router, rpc.HISTORY_GET)
async def history(message: GetHistory, curves: CurvesContext) -> History:
    """What a live stream begins with."""
    return await curves.history(message)


@request_handler(router, rpc.STORED_GET)
async def stored(message: GetStored, curves: CurvesContext) -> Stored:
    """What a trainer may free from its spool."""
    return await curves.stored(message)


@request_handler(router, rpc.LOG_LIST)
async def logs(message: ListLogs, curves: CurvesContext) -> LogList:
    """`GET /api/jobs/{uid}/logs`."""
    return await curves.logs(message.job_id, message.limit)
