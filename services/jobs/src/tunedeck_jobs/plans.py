"""What a job trains, for a trainer that answers about a job without running it."""

from tunedeck_contracts.errors import NotFound
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.ids import checked_id
from tunedeck_contracts.jobs import ModelReference, Reference, Status
from tunedeck_contracts.plans import EstimateJob, Plan
from tunedeck_jobs.devices import Devices
from tunedeck_jobs.hyperparameter_choice import choose
from tunedeck_jobs.record import Pinned
from tunedeck_jobs.repository.jobs import JobRepository
from tunedeck_jobs.resolving import Resolver


class Plans:
    """Plans of jobs in any state."""

    def __init__(self, repository: JobRepository, devices: Devices, resolver: Resolver) -> None:
        self._repository = repository
        self._devices = devices
        self._resolver = resolver

    async def of_job(self, uid: str) -> Plan:
        """What the job has pinned; of a job that was not queued yet, what it would pin now.

        Raises:
            NotFound: no such job.
            Conflict: its model or dataset is not known; `errors` has its problems.
            Unavailable: the catalog could not be asked.
        """
        record = await self._repository.get(checked_id("job", uid))
        if record is None:
            raise NotFound(f"There is no job {uid!r}.")
        configuration = record.job.configuration
        what = f"What job {uid!r} trains is not known"
        pinned = record.pinned or await self._pinned_now(what, configuration.model, configuration.dataset)
        return Plan(
            job_uid=uid,
            model=pinned.model,
            dataset=pinned.dataset,
            hyperparameters=Hyperparameters.model_validate(configuration.hyperparameters.model_dump()),
            status=record.job.status,
            device=record.job.device,
            artifacts=list(record.stored_artifacts),
        )

    async def of_new_job(self, asked: EstimateJob) -> Plan:
        """What a job would have that is not stored.

        Raises:
            ValidationFailed: a hyperparameter is out of bounds, or the method cannot be had on the device.
            Conflict: its model or dataset is not known, `errors` has its problems; or no trainer has the
                GPU that its method needs.
            Unavailable: the catalog could not be asked.
        """
        configuration = asked.configuration
        settings, _ = choose(configuration.hyperparameters)
        device = await self._devices.wanted(asked.device, settings)
        what = "What such a job would train is not known"
        pinned = await self._pinned_now(what, configuration.model, configuration.dataset)
        return Plan(
            job_uid="",
            model=pinned.model,
            dataset=pinned.dataset,
            hyperparameters=Hyperparameters.model_validate(settings.model_dump()),
            status=Status.CREATED,
            device=device,
        )

    async def _pinned_now(self, what: str, model: ModelReference, dataset: Reference) -> Pinned:
        found = await self._resolver.resolve(model.uid, dataset.uid, model.revision)
        if found.pinned is None:
            raise found.refusal(what)
        return found.pinned
