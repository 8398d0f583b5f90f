"""What the trainer hears and answers: wake-ups, requests for text."""

from typing import Annotated

from faststream import Context
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from tunedeck_chassis.broker import request_handler
from tunedeck_chassis.bus import Bus
from tunedeck_chassis.requests import Router
from tunedeck_contracts import rpc
from tunedeck_contracts.estimates import Estimate
from tunedeck_contracts.generation import GenerationStarted, StartGeneration
from tunedeck_contracts.plans import EstimateJob
from tunedeck_contracts.previews import GetPreview, JobPreview
from tunedeck_contracts.subjects import JOB_START
from tunedeck_trainer.estimates import Estimates
from tunedeck_trainer.generations import Generations
from tunedeck_trainer.previews import Previews
from tunedeck_trainer.runner import Runner

router = Router()

EstimatesContext = Annotated[Estimates, Context("estimates")]
PreviewsContext = Annotated[Previews, Context("previews")]
GenerationsContext = Annotated[Generations, Context("generations")]


async def listen_for_jobs(bus: Bus, runner: Runner) -> Subscription:
    """A core subscription: every trainer hears every wake-up; the jobs service decides who gets the job."""

    async def on_job_start(_: Msg) -> None:
        runner.wake()

    return await bus.subscribe(JOB_START, on_job_start)


@request_handler(router, rpc.JOB_ESTIMATE)
async def estimate_job(message: EstimateJob, estimates: EstimatesContext) -> Estimate:
    """`POST /api/jobs/estimate`."""
    return await estimates.of_new_job(message)


@request_handler(router, rpc.PREVIEW_GET)
async def get_preview(message: GetPreview, previews: PreviewsContext) -> JobPreview:
    """`GET /api/jobs/{uid}/preview`."""
    return await previews.of_job(message.uid)


@request_handler(router, rpc.TEXT_GENERATE)
async def generate_text(message: StartGeneration, generations: GenerationsContext) -> GenerationStarted:
    """`POST /api/jobs/{uid}/generate`."""
    return await generations.take(message)
