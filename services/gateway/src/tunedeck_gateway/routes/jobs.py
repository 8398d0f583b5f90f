"""`/api/jobs`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from tunedeck_contracts import rpc
from tunedeck_contracts.checkpoints import ListCheckpoints
from tunedeck_contracts.generation import GenerateText
from tunedeck_contracts.ids import checked_id
from tunedeck_contracts.job_changes import (
    CancelJob,
    ChangeJob,
    DeleteJob,
    JobChanges,
    ListJobEvents,
    PauseJob,
    ResumeJob,
    RetryJob,
    RetryOptions,
    StartJob,
)
from tunedeck_contracts.job_lists import (
    CompareJobs,
    ExportJobs,
    GetJobStatistics,
    JobGroup,
    JobPage,
    ListJobs,
)
from tunedeck_contracts.jobs import CreateJob, GetJob, SubmitJob
from tunedeck_contracts.model_saving import GetArtifact, PushModel, PushOptions
from tunedeck_contracts.plans import EstimateJob
from tunedeck_contracts.previews import GetPreview
from tunedeck_contracts.telemetry import ListLogs
from tunedeck_gateway.bridge import Gateway, answer, documented, gateway_of, taking_in
from tunedeck_gateway.openapi import error_responses
from tunedeck_gateway.token_stream import stream_answer

router = APIRouter(prefix="/api/jobs", tags=["Jobs"])
Here = Annotated[Gateway, Depends(gateway_of)]
Page = Annotated[JobPage, Query()]
Uid = Annotated[str, Path(description="The job's uid.")]
FilePath = Annotated[str, Path(description="A `path` of the job's `artifacts`.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x20-\x7e]+$",
        description="Any text of the caller's. The same body sent again with it creates nothing and gets the "
        "first answer, for as long as the job is there; another body with it is refused with 409.",
    ),
]


@router.get("", **documented(rpc.JOB_LIST, 400))
async def list_jobs(gateway: Here, page: Page) -> Response:
    """Jobs, newest first."""
    return await answer(gateway, rpc.JOB_LIST, ListJobs(**page.model_dump()))


@router.post("", **taking_in(rpc.JOB_CREATE, 409))
async def create_job(
    gateway: Here, request: Request, job: CreateJob, idempotency_key: IdempotencyKey = None
) -> Response:
    """Create a job; it is queued when its model and dataset resolve, else `problems` says what is missing."""
    owner = request.state.key_id
    return await answer(
        gateway, rpc.JOB_CREATE, SubmitJob(job=job, owner=owner, idempotency_key=idempotency_key)
    )


@router.post("/estimate", **documented(rpc.JOB_ESTIMATE, 409))
async def estimate_job(gateway: Here, job: EstimateJob) -> Response:
    """What a job of this configuration would take: time, memory and tokens, each with its bounds.

    A trainer trains two layers of the model for a step for it; nothing is stored.
    """
    return await answer(gateway, rpc.JOB_ESTIMATE, job)


@router.get("/current", **documented(rpc.JOB_LIST, 400))
async def list_current_jobs(gateway: Here, page: Page) -> Response:
    """Jobs that have not ended."""
    return await answer(gateway, rpc.JOB_LIST, ListJobs(**page.model_dump(), group=JobGroup.CURRENT))


@router.get("/past", **documented(rpc.JOB_LIST, 400))
async def list_past_jobs(gateway: Here, page: Page) -> Response:
    """Jobs that have ended."""
    return await answer(gateway, rpc.JOB_LIST, ListJobs(**page.model_dump(), group=JobGroup.PAST))


@router.get("/statistics", **documented(rpc.JOB_STATISTICS))
async def get_job_statistics(gateway: Here) -> Response:
    """How many jobs are in which state, and how many of the ended ones completed."""
    return await answer(gateway, rpc.JOB_STATISTICS, GetJobStatistics())


@router.get(
    "/export",
    response_class=Response,
    responses={
        200: {"description": "The list as CSV.", "content": {"text/csv": {"schema": {"type": "string"}}}},
        **error_responses(400, 503),
    },
)
async def export_jobs(gateway: Here, filters: Annotated[ExportJobs, Query()]) -> Response:
    """The list as CSV; a cell that a spreadsheet would take for a formula begins with an apostrophe."""
    reply = await answer(gateway, rpc.JOB_EXPORT, filters)
    if reply.status_code == 200:
        reply.headers["Content-Type"] = "text/csv; charset=utf-8"
        reply.headers["Content-Disposition"] = 'attachment; filename="jobs.csv"'
    return reply


@router.post("/compare", **documented(rpc.JOB_COMPARE, 404))
async def compare_jobs(gateway: Here, jobs: CompareJobs) -> Response:
    """Jobs side by side: how they went, and the hyperparameters in which they differ."""
    return await answer(gateway, rpc.JOB_COMPARE, jobs)


@router.get("/{uid}", **documented(rpc.JOB_GET, 404))
async def get_job(gateway: Here, uid: Uid) -> Response:
    """One job, with `live_metrics` while it runs."""
    return await answer(gateway, rpc.JOB_GET, GetJob(uid=checked_id("job", uid)))


@router.delete("/{uid}", **documented(rpc.JOB_DELETE, 404, 409))
async def delete_job(gateway: Here, uid: Uid) -> Response:
    """Remove a job with its artifacts, points and logs; refused while it is queued or runs."""
    return await answer(gateway, rpc.JOB_DELETE, DeleteJob(uid=checked_id("job", uid)))


@router.post("/{uid}/start", **documented(rpc.JOB_START, 404, 409))
async def start_job(gateway: Here, uid: Uid) -> Response:
    """Look for a created job's model and dataset again, and queue it."""
    return await answer(gateway, rpc.JOB_START, StartJob(uid=checked_id("job", uid)))


@router.post("/{uid}/cancel", **documented(rpc.JOB_CANCEL, 404, 409))
async def cancel_job(gateway: Here, uid: Uid) -> Response:
    """Cancel a job: at once where it waits, at the next step boundary where it runs."""
    return await answer(gateway, rpc.JOB_CANCEL, CancelJob(uid=checked_id("job", uid)))


@router.post("/{uid}/pause", **documented(rpc.JOB_PAUSE, 404, 409))
async def pause_job(gateway: Here, uid: Uid) -> Response:
    """Stop a running job at the next step boundary, with a checkpoint; its trainer is free for another."""
    return await answer(gateway, rpc.JOB_PAUSE, PauseJob(uid=checked_id("job", uid)))


@router.post("/{uid}/resume", **documented(rpc.JOB_RESUME, 404, 409))
async def resume_job(gateway: Here, uid: Uid) -> Response:
    """Queue a paused job again, from its newest checkpoint; a pause that is not reached yet is taken back."""
    return await answer(gateway, rpc.JOB_RESUME, ResumeJob(uid=checked_id("job", uid)))


@router.post("/{uid}/retry", **taking_in(rpc.JOB_RETRY, 404, 409))
async def retry_job(
    gateway: Here,
    request: Request,
    uid: Uid,
    options: RetryOptions | None = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Make a new job of a failed or cancelled one, from the start or from one of its checkpoints."""
    wanted = RetryJob(
        uid=checked_id("job", uid),
        options=options or RetryOptions(),
        owner=request.state.key_id,
        idempotency_key=idempotency_key,
    )
    return await answer(gateway, rpc.JOB_RETRY, wanted)


@router.post("/{uid}/push", **taking_in(rpc.JOB_PUSH, 404, 409))
async def push_model(gateway: Here, uid: Uid, options: PushOptions | None = None) -> Response:
    """Send a completed job's files to the Hub, for the first time or again; `hubPush` of the job tells how
    it goes."""
    wanted = PushModel(uid=checked_id("job", uid), options=options or PushOptions())
    return await answer(gateway, rpc.JOB_PUSH, wanted)


@router.patch("/{uid}", **documented(rpc.JOB_CHANGE, 404, 409))
async def change_job(gateway: Here, uid: Uid, changes: JobChanges) -> Response:
    """Change the priority or the deadline of a job that has not ended."""
    return await answer(gateway, rpc.JOB_CHANGE, ChangeJob(uid=checked_id("job", uid), changes=changes))


@router.get("/{uid}/preview", **documented(rpc.PREVIEW_GET, 404, 409))
async def preview_job(gateway: Here, uid: Uid) -> Response:
    """The first training batch as the model will read it, token by token, and what the loss counts of it.

    A trainer writes all rows as tokens for it, which takes its time; of the model it needs the tokenizer.
    """
    return await answer(gateway, rpc.PREVIEW_GET, GetPreview(uid=checked_id("job", uid)))


@router.get("/{uid}/events", **documented(rpc.JOB_EVENT_LIST, 404))
async def list_job_events(gateway: Here, uid: Uid) -> Response:
    """Everything that happened to the job, oldest first."""
    return await answer(gateway, rpc.JOB_EVENT_LIST, ListJobEvents(uid=checked_id("job", uid)))


@router.get("/{uid}/checkpoints", **documented(rpc.CHECKPOINT_LIST, 404))
async def list_checkpoints(gateway: Here, uid: Uid) -> Response:
    """What the job can be resumed or retried from, newest first."""
    return await answer(gateway, rpc.CHECKPOINT_LIST, ListCheckpoints(uid=checked_id("job", uid)))


@router.post(
    "/{uid}/generate",
    response_class=Response,
    responses={
        200: {
            "description": "Server-Sent Events. `queued`, a `QueuePosition`, while the request waits; "
            "`token`, a `GeneratedToken`, for each token; then `end`, a `GenerationEnd`, or `error`, an "
            "`ErrorReply`. Comments come in between, so that no proxy takes the stream for dead.",
            "content": {"text/event-stream": {}},
        },
        **error_responses(404, 409, 503),
    },
)
async def generate_text(gateway: Here, uid: Uid, asked: GenerateText) -> Response:
    """Have the tuned model answer, or its base, token by token; who goes away ends the answer.

    Base and tuned model read the question in the form of the training rows. A model answers one question at a
    time; where all places are taken, 429.
    """
    return await stream_answer(gateway, checked_id("job", uid), asked)


@router.get("/{uid}/logs", **documented(rpc.LOG_LIST, 404))
async def list_logs(gateway: Here, uid: Uid) -> Response:
    """The last 200 lines that the job's training process wrote."""
    return await answer(gateway, rpc.LOG_LIST, ListLogs(job_id=checked_id("job", uid)))


@router.get(
    "/{uid}/artifacts/{path:path}",
    response_class=Response,
    responses={
        200: {
            "description": "The file's bytes.",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
        **error_responses(404, 503),
    },
)
async def download_artifact(gateway: Here, uid: Uid, path: FilePath) -> Response:
    """One file of the tuned model; the job's `artifacts` lists them with their hashes."""
    wanted = GetArtifact(uid=checked_id("job", uid), path=path)
    location = await gateway.bus.request(rpc.ARTIFACT_LOCATE, wanted)
    # A body that has begun can say no more that there is none.
    await gateway.blobs.stat(location.blob_id)
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
