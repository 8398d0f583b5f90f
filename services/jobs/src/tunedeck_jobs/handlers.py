"""What the jobs service answers: decode, call, encode."""

from typing import Annotated

from faststream import Context
from faststream.nats import NatsRouter

from tunedeck_chassis.broker import request_handler
from tunedeck_contracts import rpc
from tunedeck_contracts.jobs import (
    ArtifactLocation,
    CancelJob,
    CreateJob,
    GetArtifact,
    GetJob,
    Job,
    JobCreated,
    JobList,
    ListJobs,
)
from tunedeck_contracts.runs import Beat, BeatReply, Claim, Claimed, Report, Reported
from tunedeck_jobs.jobs import Jobs
from tunedeck_jobs.queue import Queue

router = NatsRouter()

JobsContext = Annotated[Jobs, Context("jobs")]
QueueContext = Annotated[Queue, Context("queue")]


@request_handler(router, rpc.JOB_CREATE)
async def create(message: CreateJob, jobs: JobsContext) -> JobCreated:
    """`POST /api/jobs`."""
    return await jobs.create(message)


@request_handler(router, rpc.JOB_GET)
async def get(message: GetJob, jobs: JobsContext) -> Job:
    """`GET /api/jobs/{uid}`."""
    return await jobs.get(message.uid)


@request_handler(router, rpc.JOB_LIST)
async def list_jobs(message: ListJobs, jobs: JobsContext) -> JobList:
    """`GET /api/jobs`, `/current` and `/past`."""
    return await jobs.list_jobs(message)


@request_handler(router, rpc.JOB_CANCEL)
async def cancel(message: CancelJob, jobs: JobsContext) -> Job:
    """`POST /api/jobs/{uid}/cancel`."""
    return await jobs.cancel(message.uid)


@request_handler(router, rpc.ARTIFACT_LOCATE)
async def locate_artifact(message: GetArtifact, jobs: JobsContext) -> ArtifactLocation:
    """`GET /api/jobs/{uid}/artifacts/{path}`."""
    return await jobs.locate_artifact(message.uid, message.path)


@request_handler(router, rpc.JOB_CLAIM)
async def claim(message: Claim, queue: QueueContext) -> Claimed:
    """A trainer asks for a job."""
    return await queue.claim(message)


@request_handler(router, rpc.JOB_BEAT)
async def beat(message: Beat, queue: QueueContext) -> BeatReply:
    """A run lives."""
    return await queue.beat(message)


@request_handler(router, rpc.JOB_REPORT)
async def report(message: Report, queue: QueueContext) -> Reported:
    """A run has ended."""
    await queue.report(message)
    return Reported()
