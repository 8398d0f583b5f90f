"""Asks the catalog what a job's model and dataset stand for."""

from tunedeck_chassis.bus import Bus
from tunedeck_contracts.datasets import ResolveDataset, ResolvedDataset
from tunedeck_contracts.errors import TunedeckError
from tunedeck_contracts.models import ResolvedModel, ResolveModel
from tunedeck_contracts.rpc import DATASET_RESOLVE, MODEL_RESOLVE
from tunedeck_jobs.record import Pinned


class Resolver:
    """Pins a model to a revision and a dataset to a hash, or says why it cannot."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def resolve(self, model: str, dataset: str) -> tuple[Pinned | None, list[str]]:
        """The pins, or None with a sentence for each thing that is missing."""
        problems: list[str] = []
        found_model: ResolvedModel | None = None
        found_dataset: ResolvedDataset | None = None
        try:
            found_model = await self._bus.request(MODEL_RESOLVE, ResolveModel(id=model))
        except TunedeckError as error:
            problems.append(f"model: {error.detail}")
        try:
            found_dataset = await self._bus.request(DATASET_RESOLVE, ResolveDataset(reference=dataset))
        except TunedeckError as error:
            problems.append(f"dataset: {error.detail}")
        if found_model is None or found_dataset is None:
            return None, problems
        return Pinned(found_model, found_dataset), []
