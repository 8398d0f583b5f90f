"""Asks the catalog what a job's model and dataset stand for."""

from dataclasses import dataclass

from tunedeck_chassis.bus import Bus
from tunedeck_contracts.datasets import ResolveDataset, ResolvedDataset
from tunedeck_contracts.errors import TunedeckError, Unavailable
from tunedeck_contracts.models import ResolvedModel, ResolveModel
from tunedeck_contracts.rpc import DATASET_RESOLVE, MODEL_RESOLVE
from tunedeck_jobs.record import Pinned


@dataclass(frozen=True)
class Resolution:
    """What was found, and a sentence for each thing that was not."""

    model: ResolvedModel | None
    dataset: ResolvedDataset | None
    problems: tuple[str, ...] = ()
    is_unavailable: bool = False
    """Something is missing because nobody could say; a later look may find it."""

    @property
    def pinned(self) -> Pinned | None:
        """The pins, when both were found."""
        if self.model is None or self.dataset is None:
            return None
        return Pinned(self.model, self.dataset)


class Resolver:
    """Pins a model to a revision and a dataset to a hash, or says why it cannot."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def resolve(self, model: str, dataset: str) -> Resolution:
        """Look for both."""
        errors: dict[str, TunedeckError] = {}
        found_model: ResolvedModel | None = None
        found_dataset: ResolvedDataset | None = None
        try:
            found_model = await self._bus.request(MODEL_RESOLVE, ResolveModel(id=model))
        except TunedeckError as error:
            errors["model"] = error
        try:
            found_dataset = await self._bus.request(DATASET_RESOLVE, ResolveDataset(reference=dataset))
        except TunedeckError as error:
            errors["dataset"] = error
        return Resolution(
            found_model,
            found_dataset,
            tuple(f"{what}: {error.detail}" for what, error in errors.items()),
            any(isinstance(error, Unavailable) for error in errors.values()),
        )
