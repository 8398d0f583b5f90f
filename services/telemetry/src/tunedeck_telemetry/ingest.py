"""From messages of the streams to what is stored."""

from collections.abc import Sequence

from tunedeck_contracts.events import JobEvent, JobEventType
from tunedeck_contracts.subjects import TrainingKind
from tunedeck_contracts.training import LogRecorded, LossRecorded, ResourcesRecorded
from tunedeck_telemetry.projection import Totals, from_event
from tunedeck_telemetry.repository import Kind, Point, TelemetryRepository, check_storable

Recorded = LossRecorded | ResourcesRecorded | LogRecorded


def decode(subject: str, data: bytes) -> Recorded:
    """One message of the stream TRAINING.

    Raises:
        ValueError: it is not what its subject says, or cannot be stored.
    """
    recorded = _decoded(subject, data)
    check_storable(recorded, to_point(recorded))
    return recorded


def _decoded(subject: str, data: bytes) -> Recorded:
    match TrainingKind(subject.split(".")[1]):
        case TrainingKind.LOSS:
            return LossRecorded.model_validate_json(data)
        case TrainingKind.RESOURCES:
            return ResourcesRecorded.model_validate_json(data)
        case TrainingKind.LOG:
            return LogRecorded.model_validate_json(data)


class Ingest:
    """Stores what comes, in any order and as often as it comes."""

    def __init__(self, repository: TelemetryRepository) -> None:
        self._repository = repository

    async def job_event(self, event: JobEvent) -> None:
        """A change of a job."""
        if event.type is JobEventType.DELETED:
            await self._repository.forget(event.uid)
        else:
            await self._repository.project(from_event(event))

    async def forget(self, job_id: str) -> int:
        """Remove all of a deleted job; return how many points, samples and lines that were."""
        return await self._repository.forget(job_id)

    async def recorded(self, batch: Sequence[Recorded]) -> None:
        """Points, samples and lines, with what the newest points say of their runs' lengths."""
        await self._repository.store([to_point(one) for one in batch])
        told = [one for one in batch if isinstance(one, LossRecorded)]
        newest = {one.job_id: one for one in sorted(told, key=lambda one: (one.fence, one.point.iteration))}
        for job_id, loss in newest.items():
            totals = Totals(loss.total, loss.total_steps, loss.total_epochs)
            await self._repository.set_totals(job_id, loss.fence, totals)
        await self._repository.drop_deleted({one.job_id for one in batch})


def to_point(recorded: Recorded) -> Point:
    """The key and the value under which a message is stored."""
    match recorded:
        case LossRecorded(job_id=job, fence=fence, point=point):
            return Point(Kind.LOSS, job, fence, point.iteration, point.timestamp, point)
        case ResourcesRecorded(job_id=job, fence=fence, number=number, sample=sample):
            return Point(Kind.RESOURCES, job, fence, number, sample.timestamp, sample)
        case LogRecorded(job_id=job, fence=fence, line=line):
            return Point(Kind.LOG, job, fence, line.number, line.timestamp, line)
