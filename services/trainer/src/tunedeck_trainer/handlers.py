"""What the trainer hears: wake-ups."""

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from tunedeck_chassis.bus import Bus
from tunedeck_contracts.subjects import JOB_START
from tunedeck_trainer.runner import Runner


async def listen_for_jobs(bus: Bus, runner: Runner) -> Subscription:
    """A core subscription: every trainer hears every wake-up; the jobs service decides who gets the job."""

    async def on_job_start(_: Msg) -> None:
        runner.wake()

    return await bus.subscribe(JOB_START, on_job_start)
