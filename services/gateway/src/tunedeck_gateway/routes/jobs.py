"""`/api/jobs`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from fastapi.responses import StreamingResponse

from tunedeck_contracts import rpc
from tunedeck_contracts.errors import ErrorReply
from tunedeck_contracts.ids import checked_id
from tunedeck_contracts.jobs import CancelJob, CreateJob, GetArtifact, GetJob, ListJobs
from tunedeck_contracts.telemetry import ListLogs
from tunedeck_gateway.bridge import Gateway, answer, documented, gateway_of

router = APIRouter(prefix="/api/jobs", tags=["Jobs"])
Here = Annotated[Gateway, Depends(gateway_of)]


@router.get("", **documented(rpc.JOB_LIST))
async def list_jobs(gateway: Here) -> Response:
    """Every job, newest first."""
    return await answer(gateway, rpc.JOB_LIST, ListJobs())


@router.post("", **documented(rpc.JOB_CREATE))
async def create(gateway: Here, job: CreateJob) -> Response:
    """Create a job; it is queued when its model and dataset resolve, else `problems` says what is missing."""
    return await answer(gateway, rpc.JOB_CREATE, job)


@router.get("/{uid}", **documented(rpc.JOB_GET, 404))
async def get(gateway: Here, uid: str) -> Response:
    """One job, with `live_metrics` while it runs."""
    return await answer(gateway, rpc.JOB_GET, GetJob(uid=checked_id("job", uid)))


@router.post("/{uid}/cancel", **documented(rpc.JOB_CANCEL, 404, 409))
async def cancel(gateway: Here, uid: str) -> Response:
    """Cancel a job: at once where it waits, at the next step boundary where it runs."""
    return await answer(gateway, rpc.JOB_CANCEL, CancelJob(uid=checked_id("job", uid)))


@router.get("/{uid}/logs", **documented(rpc.LOG_LIST, 404))
async def logs(gateway: Here, uid: str) -> Response:
    """The last 200 lines that the job's training process wrote."""
    return await answer(gateway, rpc.LOG_LIST, ListLogs(job_id=checked_id("job", uid)))


@router.get(
    "/{uid}/artifacts/{path:path}",
    response_class=StreamingResponse,
    responses={404: {"model": ErrorReply}, 503: {"model": ErrorReply}},
)
async def artifact(gateway: Here, uid: str, path: str) -> Response:
    """One file of the tuned model; the job's `artifacts` lists them with their hashes."""
    wanted = GetArtifact(uid=checked_id("job", uid), path=path)
    location = await gateway.bus.request(rpc.ARTIFACT_LOCATE, wanted)
    filename = location.path.rsplit("/", 1)[-1]
    return StreamingResponse(
        gateway.blobs.read(location.blob_id),
        media_type="application/octet-stream",
        headers={
            "Content-Length": str(location.size),
            "Content-Disposition": f'attachment; filename="{filename}"',
            "ETag": f'"{location.sha256}"',
        },
    )
