"""How far a job is, in words for people."""

from tunedeck_contracts.errors import Unavailable
from tunedeck_contracts.jobs import PAST, Status
from tunedeck_contracts.message import utc_now
from tunedeck_contracts.telemetry import MemoryUsage, Temperatures, TrainingStatus, TrainingSummary
from tunedeck_contracts.training import LossPoint
from tunedeck_contracts.training_mode import TrainingModeShown
from tunedeck_telemetry import durations
from tunedeck_telemetry.curves import NO_DATA, Curves
from tunedeck_telemetry.projection import Directory, KnownJob

STEPS_OF_ESTIMATE = 50


class Summaries:
    """Status and summary of one job."""

    def __init__(self, curves: Curves, directory: Directory) -> None:
        self._curves = curves
        self._directory = directory

    async def status(self, job_id: str) -> TrainingStatus:
        """For every known job, also before it trains.

        Raises:
            NotFound: there is no such job.
        """
        job = await self._directory.find(job_id)
        points = await self._curves.newest_points(job, STEPS_OF_ESTIMATE)
        newest = points[-1] if points else None
        step = newest.step if newest else 0
        total = job.totals.steps
        done = job.status is Status.COMPLETED
        return TrainingStatus(
            job_id=job.uid,
            status=job.status,
            current_epoch=newest.epoch if newest else 0,
            total_epochs=job.totals.epochs or job.total_epochs,
            progress_percent=100.0 if done else round(100.0 * step / total, 1) if total else 0.0,
            elapsed_time=durations.spoken(elapsed_seconds(job)),
            estimated_remaining=durations.estimate(remaining_seconds(job, points)),
            current_step=step,
            total_steps=total,
        )

    async def summary(self, job_id: str | None) -> TrainingSummary:
        """The job in focus.

        Raises:
            Unavailable: no job has trained yet. NotFound: there is no such job.
        """
        job = await self._directory.focus(job_id)
        points = await self._curves.newest_points(job, 1) if job else []
        if job is None or not points:
            raise Unavailable(NO_DATA)
        newest, hardware = points[-1], (await self._curves.resources(job.uid, 1))[-1]
        return TrainingSummary(
            job_id=job.uid,
            training_mode=job.training_mode,
            is_completed=job.status is Status.COMPLETED,
            current_iteration=newest.iteration,
            current_epoch=newest.epoch,
            current_step=newest.step,
            current_train_loss=newest.train_loss,
            current_val_loss=newest.validation_loss,
            gpu_utilization=hardware.gpu_percent,
            memory_usage=MemoryUsage(
                ram_used=hardware.ram_used_gb,
                ram_total=hardware.ram_total_gb,
                vram_used=hardware.vram_used_gb,
                vram_total=hardware.vram_total_gb,
            ),
            temperatures=Temperatures(gpu=hardware.gpu_temp, cpu=hardware.cpu_temp),
            elapsed_time=durations.clock(elapsed_seconds(job)),
            data_point=f"{newest.iteration}/{job.totals.points}",
        )

    async def mode(self) -> TrainingModeShown:
        """The mode of new jobs, and how far the job started last is.

        Raises:
            Unavailable: the jobs service does not say the mode.
        """
        mode = await self._directory.mode()
        job = await self._directory.focus(None)
        points = await self._curves.newest_points(job, 1) if job else []
        return TrainingModeShown(
            mode=mode,
            is_completed=job is not None and job.status is Status.COMPLETED,
            current_iteration=points[-1].iteration if points else 0,
        )


def elapsed_seconds(job: KnownJob) -> float:
    """From the first start to the end, or to now."""
    if job.started_at is None:
        return 0.0
    return ((job.ended_at or utc_now()) - job.started_at).total_seconds()


def remaining_seconds(job: KnownJob, points: list[LossPoint]) -> float | None:
    """The steps left at the mean step time of the newest points; None while nothing can be said."""
    if job.status in PAST:
        return 0.0
    if len(points) < 2 or job.status is not Status.RUNNING:
        return None
    steps = points[-1].step - points[0].step
    seconds = (points[-1].timestamp - points[0].timestamp).total_seconds()
    if steps <= 0:
        return None
    return max(0, job.totals.steps - points[-1].step) * seconds / steps
