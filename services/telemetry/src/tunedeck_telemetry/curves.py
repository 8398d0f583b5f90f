"""Reads a job's points: the current ones, by number, and as a history with a cursor."""

from bisect import bisect_right
from itertools import groupby
from operator import itemgetter

from tunedeck_chassis.mongo import Document
from tunedeck_contracts.errors import Unavailable
from tunedeck_contracts.telemetry import (
    GetHistory,
    GetStored,
    History,
    HistoryPoint,
    LogEntry,
    LogList,
    Stored,
    sequence,
)
from tunedeck_contracts.training import LossPoint, ResourceSample
from tunedeck_telemetry.ownership import Span, Tenure, owned_spans
from tunedeck_telemetry.projection import Directory, KnownJob
from tunedeck_telemetry.repository import Kind, TelemetryRepository

NO_DATA = "Training data not available"
_EVERY_NUMBER = 2**53 - 1


class Curves:
    """What the points of jobs say."""

    def __init__(self, repository: TelemetryRepository, directory: Directory) -> None:
        self._repository = repository
        self._directory = directory

    async def losses(self, job_id: str | None, count: int) -> list[LossPoint]:
        """The newest current points of the job in focus, oldest first.

        Raises:
            Unavailable: there are none. NotFound: there is no such job.
        """
        job = await self._directory.focus(job_id)
        points = await self.newest_points(job, count) if job else []
        if not points:
            raise Unavailable(NO_DATA)
        return points

    async def newest_points(self, job: KnownJob, count: int) -> list[LossPoint]:
        """The newest current points of a job, oldest first."""
        points: list[LossPoint] = []
        for span in reversed(await self._spans(job)):
            found = await self._repository.newest(
                Kind.LOSS,
                job.uid,
                (span.fence, *span.retold_by),
                after=span.after,
                upto=span.upto,
                count=count - len(points),
            )
            points = [LossPoint.model_validate(one) for one in found] + points
            if len(points) >= count:
                break
        return points

    async def resources(self, job_id: str | None, count: int) -> list[ResourceSample]:
        """The newest samples of the job in focus; where it has none, an idle trainer's.

        Raises:
            Unavailable: there are none. NotFound: there is no such job.
        """
        job = await self._directory.focus(job_id)
        found = await self._samples_of(job.uid, count) if job else []
        if not found:
            found = await self._repository.idle_samples(count)
        if not found:
            raise Unavailable(NO_DATA)
        return [ResourceSample.model_validate(one) for one in found]

    async def history(self, request: GetHistory) -> History:
        """The current points after a cursor, oldest first, each with the sample taken before it."""
        job = await self._directory.find(request.job_id)
        found: list[tuple[int, Document]] = []
        # The newest first: whatever is stored meanwhile, what came before a point that was read is read too.
        for span in reversed(await self._spans(job)):
            if request.after >= sequence(span.fence + 1, 0):
                break
            older = await self._repository.first(
                Kind.LOSS,
                job.uid,
                (span.fence, *span.retold_by),
                after=max(span.after, request.after - sequence(span.fence, 0)),
                upto=span.upto,
                count=request.limit + 1,
            )
            found = [*((span.fence, one) for one in older), *found][: request.limit + 1]
        points: list[HistoryPoint] = []
        for fence, told in groupby(found[: request.limit], key=itemgetter(0)):
            losses = [LossPoint.model_validate(one) for _, one in told]
            points += await self._with_resources(job.uid, fence, losses)
        return History(
            job_id=job.uid,
            status=job.status,
            training_mode=job.training_mode,
            fence=job.running_fence,
            resume_step=job.resume_step,
            total=job.totals.points,
            last_iteration=job.last_iteration,
            points=points,
            more=len(found) > request.limit,
        )

    async def stored(self, request: GetStored) -> Stored:
        """How far each kind of a run is stored without a hole; of a deleted job, all that will ever be."""
        if await self._repository.is_deleted(request.job_id):
            return Stored(losses=_EVERY_NUMBER, resources=_EVERY_NUMBER, logs=_EVERY_NUMBER)
        known, run = request.after, (request.job_id, request.fence)
        return Stored(
            losses=await self._repository.stored_up_to(Kind.LOSS, *run, known.losses),
            resources=await self._repository.stored_up_to(Kind.RESOURCES, *run, known.resources),
            logs=await self._repository.stored_up_to(Kind.LOG, *run, known.logs),
        )

    async def logs(self, job_id: str, count: int) -> LogList:
        """The newest lines of a job over all its runs, oldest first."""
        job = await self._directory.find(job_id)
        lines: list[LogEntry] = []
        for fence in reversed(await self._repository.fences(Kind.LOG, job.uid)):
            found = await self._repository.newest(Kind.LOG, job.uid, [fence], count=count - len(lines))
            lines = [LogEntry.model_validate(one) for one in found] + lines
            if len(lines) >= count:
                break
        return LogList(job_id=job.uid, lines=lines)

    async def _samples_of(self, job_id: str, count: int) -> list[Document]:
        fences = await self._repository.fences(Kind.RESOURCES, job_id)
        if not fences:
            return []
        return await self._repository.newest(Kind.RESOURCES, job_id, fences[-1:], count=count)

    async def _spans(self, job: KnownJob) -> list[Span]:
        # A point may be here before the event that tells its fence: such a fence began at the start.
        told = {tenure.fence: tenure for tenure in job.tenures}
        for fence in await self._repository.fences(Kind.LOSS, job.uid):
            told.setdefault(fence, Tenure(fence, 0))
        return owned_spans(told.values())

    async def _with_resources(self, job_id: str, fence: int, losses: list[LossPoint]) -> list[HistoryPoint]:
        if not losses:
            return []
        found = await self._repository.between(
            Kind.RESOURCES, job_id, fence, losses[0].timestamp, losses[-1].timestamp
        )
        samples = sorted(map(ResourceSample.model_validate, found), key=lambda one: one.timestamp)
        times = [sample.timestamp for sample in samples]
        if not samples:
            first = await self._repository.first(Kind.RESOURCES, job_id, [fence], after=0, upto=None, count=1)
            samples = [ResourceSample.model_validate(one) for one in first]
            times = [sample.timestamp for sample in samples]
        return [
            HistoryPoint(
                seq=sequence(fence, point.iteration),
                fence=fence,
                point=point,
                resources=samples[max(0, bisect_right(times, point.timestamp) - 1)] if samples else None,
            )
            for point in losses
        ]
