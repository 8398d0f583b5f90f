"""What clients may ask of many jobs: pages, CSV, counts, comparisons, the best so far."""

from collections.abc import AsyncIterator

from tunedeck_contracts.errors import BadRequest, FieldProblem, NotFound, ValidationFailed
from tunedeck_contracts.hyperparameters import Hyperparameters, encode_uid
from tunedeck_contracts.job_lists import (
    MOST_EXPORTED,
    MOST_JOBS,
    BestHyperparameters,
    CurrentCounts,
    FindJobsUsing,
    GetBestHyperparameters,
    JobComparison,
    JobFilters,
    JobGroup,
    JobList,
    JobStatistics,
    ListJobs,
    PastCounts,
)
from tunedeck_contracts.jobs import CURRENT, PAST, Job, Status
from tunedeck_contracts.message import utc_now
from tunedeck_jobs.comparison import compare
from tunedeck_jobs.csv_export import to_csv
from tunedeck_jobs.forecast import standings
from tunedeck_jobs.jobs import with_standing
from tunedeck_jobs.pages import from_cursor, place_of, to_cursor
from tunedeck_jobs.repository.lists import JobLists
from tunedeck_jobs.repository.trainers import TrainerRepository

_GROUPS = {None: tuple(Status), JobGroup.CURRENT: CURRENT, JobGroup.PAST: PAST}


class Listing:
    """The reading side of the jobs service."""

    def __init__(self, lists: JobLists, trainers: TrainerRepository) -> None:
        self._lists = lists
        self._trainers = trainers

    async def page(self, request: ListJobs) -> JobList:
        """One page, and the counts of all jobs.

        Raises:
            BadRequest: the cursor is none.
        """
        limit = request.limit or MOST_JOBS
        after = from_cursor(request.cursor, request.sort) if request.cursor else None
        statuses = _statuses(request, request.group)
        # One more than is shown tells whether there is a next page.
        batches = self._lists.find(request, statuses, after, limit + 1)
        jobs = [record.job async for batch in batches for record in batch]
        shown, has_more = jobs[:limit], len(jobs) > limit
        counts = await self._lists.counts()
        return JobList(
            jobs=await self._with_standings(shown),
            total=sum(counts.values()),
            current_count=sum(counts[status] for status in CURRENT),
            past_count=sum(counts[status] for status in PAST),
            next_cursor=to_cursor(place_of(shown[-1], request.sort), request.sort) if has_more else None,
        )

    async def export(self, filters: JobFilters) -> str:
        """The whole list as CSV.

        Raises:
            BadRequest: it is longer than an export may be.
        """
        return await to_csv(self._exported(filters))

    async def statistics(self) -> JobStatistics:
        """Counts by state."""
        counts = await self._lists.counts()
        completed, failed = counts[Status.COMPLETED], counts[Status.FAILED]
        rate = 100.0 * completed / (completed + failed) if completed + failed else 0.0
        return JobStatistics(
            total=sum(counts.values()),
            current=CurrentCounts(
                total=sum(counts[status] for status in CURRENT),
                running=counts[Status.RUNNING],
                queued=counts[Status.QUEUED],
                created=counts[Status.CREATED],
                paused=counts[Status.PAUSED],
            ),
            past=PastCounts(
                total=sum(counts[status] for status in PAST),
                completed=completed,
                failed=failed,
                cancelled=counts[Status.CANCELLED],
            ),
            success_rate=f"{rate:.1f}%",
            last_updated=utc_now(),
        )

    async def compare(self, uids: list[str]) -> JobComparison:
        """Jobs side by side, in the order asked for.

        Raises:
            NotFound: some are not there. ValidationFailed: one is named twice.
        """
        twice = sorted({uid for uid in uids if uids.count(uid) > 1})
        if twice:
            sentence = f"Each job once; these come twice: {', '.join(map(repr, twice))}."
            raise ValidationFailed(sentence, [FieldProblem(loc="uids", message=sentence)])
        found = await self._lists.some(uids)
        missing = [uid for uid in uids if uid not in found]
        if missing:
            raise NotFound(f"There is no job {', '.join(map(repr, missing))}.")
        return compare([found[uid] for uid in uids])

    async def using_dataset(self, request: FindJobsUsing) -> list[str]:
        """Uids of the jobs that have not ended and need the dataset."""
        return await self._lists.using_dataset(request.dataset, request.also)

    async def best(self, request: GetBestHyperparameters) -> BestHyperparameters:
        """The settings of the completed job with the lowest validation loss.

        Raises:
            NotFound: no such job has completed.
        """
        record = await self._lists.best(request.mode, request.dataset)
        if record is None or record.job.result is None:
            which = f" in mode {request.mode.value}" if request.mode else ""
            where = f" on the dataset {request.dataset!r}" if request.dataset else ""
            raise NotFound(f"No job{which}{where} has completed yet, so there are no best hyperparameters.")
        job = record.job
        settings = Hyperparameters.model_validate(job.configuration.hyperparameters.model_dump())
        return BestHyperparameters(
            # The job may keep a client's own uid, which stands for no settings here.
            uid=encode_uid(settings),
            hyperparameters=settings,
            mode=job.training_mode,
            job_uid=job.uid,
            job_name=job.name,
            validation_loss=record.job.result.validation_loss_after,
            model=job.configuration.model,
            dataset=job.configuration.dataset,
        )

    async def _with_standings(self, jobs: list[Job]) -> list[Job]:
        if all(job.status is not Status.QUEUED for job in jobs):
            return jobs
        known = standings(await self._trainers.line(), utc_now())
        return [with_standing(job, known.get(job.uid)) for job in jobs]

    async def _exported(self, filters: JobFilters) -> AsyncIterator[list[Job]]:
        count = 0
        # One more than may be exported tells whether there are too many.
        async for batch in self._lists.find(filters, _statuses(filters, None), None, MOST_EXPORTED + 1):
            count += len(batch)
            if count > MOST_EXPORTED:
                raise BadRequest(
                    f"More than {MOST_EXPORTED:,} jobs are in this list, the most of one export; "
                    "narrow it by status, q or tag."
                )
            yield [record.job for record in batch]


def _statuses(filters: JobFilters, group: JobGroup | None) -> list[Status]:
    return [one for one in _GROUPS[group] if not filters.status or one in filters.status]
