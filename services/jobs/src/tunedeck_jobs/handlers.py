"""What the jobs service answers: decode, call, encode."""

from typing import Annotated

from faststream import Context

from tunedeck_chassis.broker import request_handler
from tunedeck_chassis.requests import Router
from tunedeck_contracts import rpc
from tunedeck_contracts.checkpoints import (
    CheckpointList,
    CheckpointRegistered,
    ListCheckpoints,
    RegisterCheckpoint,
)
from tunedeck_contracts.job_changes import (
    CancelJob,
    ChangeJob,
    DeleteJob,
    JobDeleted,
    JobEventList,
    ListJobEvents,
    PauseJob,
    ResumeJob,
    RetryJob,
    StartJob,
)
from tunedeck_contracts.job_lists import (
    BestHyperparameters,
    CompareJobs,
    ExportJobs,
    FindJobsUsing,
    GetBestHyperparameters,
    GetJobStatistics,
    JobComparison,
    JobList,
    JobsExport,
    JobStatistics,
    JobsUsing,
    ListJobs,
)
from tunedeck_contracts.jobs import GetJob, Job, JobCreated, SubmitJob
from tunedeck_contracts.model_saving import (
    ArtifactLocation,
    ClaimPush,
    GetArtifact,
    PushClaimed,
    PushModel,
    PushReported,
    ReportPush,
)
from tunedeck_contracts.plans import EstimateJob, GetPlan, Plan
from tunedeck_contracts.runs import Beat, BeatReply, Claim, Claimed, Report, Reported
from tunedeck_contracts.training_mode import GetMode, Mode, ModeSet, SetMode
from tunedeck_jobs.checkpoints import Checkpoints
from tunedeck_jobs.creation import Creation
from tunedeck_jobs.deletion import Deletion
from tunedeck_jobs.jobs import Jobs
from tunedeck_jobs.listing import Listing
from tunedeck_jobs.mode import Modes
from tunedeck_jobs.plans import Plans
from tunedeck_jobs.pushes import Pushes
from tunedeck_jobs.queue import Queue
from tunedeck_jobs.steering import Steering

router = Router()

CreationContext = Annotated[Creation, Context("creation")]
JobsContext = Annotated[Jobs, Context("jobs")]
SteeringContext = Annotated[Steering, Context("steering")]
PlansContext = Annotated[Plans, Context("plans")]
CheckpointsContext = Annotated[Checkpoints, Context("checkpoints")]
ListingContext = Annotated[Listing, Context("listing")]
DeletionContext = Annotated[Deletion, Context("deletion")]
ModesContext = Annotated[Modes, Context("modes")]
PushesContext = Annotated[Pushes, Context("pushes")]
QueueContext = Annotated[Queue, Context("queue")]


@request_handler(router, rpc.JOB_CREATE)
async def create(message: SubmitJob, creation: CreationContext) -> JobCreated:
    """`POST /api/jobs`."""
    return await creation.create(message)


@request_handler(router, rpc.JOB_RETRY)
async def retry(message: RetryJob, creation: CreationContext) -> JobCreated:
    """`POST /api/jobs/{uid}/retry`."""
    return await creation.retry(message)


@request_handler(router, rpc.JOB_GET)
async def get(message: GetJob, jobs: JobsContext) -> Job:
    """`GET /api/jobs/{uid}`."""
    return await jobs.get(message.uid)


@request_handler(router, rpc.JOB_LIST)
async def list_jobs(message: ListJobs, listing: ListingContext) -> JobList:
    """`GET /api/jobs`, `/current` and `/past`."""
    return await listing.page(message)


@request_handler(router, rpc.JOB_EXPORT)
async def export(message: ExportJobs, listing: ListingContext) -> JobsExport:
    """`GET /api/jobs/export`."""
    return JobsExport(text=await listing.export(message))


@request_handler(router, rpc.JOB_STATISTICS)
async def statistics(message: GetJobStatistics, listing: ListingContext) -> JobStatistics:
    """`GET /api/jobs/statistics`."""
    return await listing.statistics()


@request_handler(router, rpc.JOB_COMPARE)
async def compare(message: CompareJobs, listing: ListingContext) -> JobComparison:
    """`POST /api/jobs/compare`."""
    return await listing.compare(message.uids)


@request_handler(router, rpc.HYPERPARAMETERS_BEST)
async def best_hyperparameters(
    message: GetBestHyperparameters, listing: ListingContext
) -> BestHyperparameters:
    """`GET /api/hyperparameters/best`."""
    return await listing.best(message)


@request_handler(router, rpc.JOBS_USING_DATASET)
async def using_dataset(message: FindJobsUsing, listing: ListingContext) -> JobsUsing:
    """The catalog wants to delete a dataset."""
    return JobsUsing(jobs=await listing.using_dataset(message))


@request_handler(router, rpc.JOB_START)
async def start(message: StartJob, steering: SteeringContext) -> Job:
    """`POST /api/jobs/{uid}/start`."""
    return await steering.start(message.uid)


@request_handler(router, rpc.JOB_PAUSE)
async def pause(message: PauseJob, steering: SteeringContext) -> Job:
    """`POST /api/jobs/{uid}/pause`."""
    return await steering.pause(message.uid)


@request_handler(router, rpc.JOB_RESUME)
async def resume(message: ResumeJob, steering: SteeringContext) -> Job:
    """`POST /api/jobs/{uid}/resume`."""
    return await steering.resume(message.uid)


@request_handler(router, rpc.JOB_CHANGE)
async def change(message: ChangeJob, steering: SteeringContext) -> Job:
    """`PATCH /api/jobs/{uid}`."""
    return await steering.change(message.uid, message.changes)


@request_handler(router, rpc.JOB_EVENT_LIST)
async def list_events(message: ListJobEvents, jobs: JobsContext) -> JobEventList:
    """`GET /api/jobs/{uid}/events`."""
    return await jobs.events(message.uid)


@request_handler(router, rpc.CHECKPOINT_LIST)
async def list_checkpoints(message: ListCheckpoints, jobs: JobsContext) -> CheckpointList:
    """`GET /api/jobs/{uid}/checkpoints`."""
    return await jobs.checkpoints(message.uid)


@request_handler(router, rpc.JOB_DELETE)
async def delete(message: DeleteJob, deletion: DeletionContext) -> JobDeleted:
    """`DELETE /api/jobs/{uid}`."""
    return await deletion.delete(message.uid)


@request_handler(router, rpc.MODE_GET)
async def get_mode(message: GetMode, modes: ModesContext) -> Mode:
    """Telemetry shows it in `GET /api/training/mode`."""
    return await modes.get()


@request_handler(router, rpc.MODE_SET)
async def set_mode(message: SetMode, modes: ModesContext) -> ModeSet:
    """`POST /api/training/mode/{mode}`."""
    return await modes.set(message.mode)


@request_handler(router, rpc.JOB_CANCEL)
async def cancel(message: CancelJob, steering: SteeringContext) -> Job:
    """`POST /api/jobs/{uid}/cancel`."""
    return await steering.cancel(message.uid)


@request_handler(router, rpc.ARTIFACT_LOCATE)
async def locate_artifact(message: GetArtifact, jobs: JobsContext) -> ArtifactLocation:
    """`GET /api/jobs/{uid}/artifacts/{path}`."""
    return await jobs.locate_artifact(message.uid, message.path)


@request_handler(router, rpc.PLAN_GET)
async def get_plan(message: GetPlan, plans: PlansContext) -> Plan:
    """A trainer is asked about a job."""
    return await plans.of_job(message.uid)


@request_handler(router, rpc.JOB_PUSH)
async def push(message: PushModel, pushes: PushesContext) -> Job:
    """`POST /api/jobs/{uid}/push`."""
    return await pushes.want(message.uid, message.options)


@request_handler(router, rpc.PUSH_CLAIM)
async def claim_push(message: ClaimPush, pushes: PushesContext) -> PushClaimed:
    """A trainer asks for files to send to the Hub."""
    return await pushes.claim(message)


@request_handler(router, rpc.PUSH_REPORT)
async def report_push(message: ReportPush, pushes: PushesContext) -> PushReported:
    """A push has ended."""
    await pushes.report(message)
    return PushReported()


@request_handler(router, rpc.PLAN_RESOLVE)
async def resolve_plan(message: EstimateJob, plans: PlansContext) -> Plan:
    """A trainer is asked what a job would take that is not there yet."""
    return await plans.of_new_job(message)


@request_handler(router, rpc.JOB_CLAIM)
async def claim(message: Claim, queue: QueueContext) -> Claimed:
    """A trainer asks for a job."""
    return await queue.claim(message)


@request_handler(router, rpc.JOB_BEAT)
async def beat(message: Beat, queue: QueueContext) -> BeatReply:
    """A run lives."""
    return await queue.beat(message)


@request_handler(router, rpc.JOB_CHECKPOINT_REGISTER)
async def register_checkpoint(
    message: RegisterCheckpoint, checkpoints: CheckpointsContext
) -> CheckpointRegistered:
    """A run has stored a checkpoint."""
    await checkpoints.register(message)
    return CheckpointRegistered()


@request_handler(router, rpc.JOB_REPORT)
async def report(message: Report, queue: QueueContext) -> Reported:
    """A run has ended."""
    await queue.report(message)
    return Reported()
