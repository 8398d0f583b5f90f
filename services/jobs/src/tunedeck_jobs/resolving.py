"""Asks the catalog what a job's model and dataset stand for."""

import asyncio
from dataclasses import dataclass
from typing import TypeVar

from tunedeck_chassis.bus import Bus
from tunedeck_contracts.datasets import ResolveDataset, ResolvedDataset
from tunedeck_contracts.errors import Conflict, FieldProblem, TunedeckError, Unavailable
from tunedeck_contracts.message import Message
from tunedeck_contracts.models import ResolvedModel, ResolveModel
from tunedeck_contracts.rpc import DATASET_RESOLVE, MODEL_RESOLVE, RESOLVE, Rpc
from tunedeck_jobs.record import Pinned

ASKED_AGAIN_SECONDS = 2.0
"""Who refuses sooner may have missed that its database, or another, is back already."""
RETRY_SECONDS = 0.2

Req = TypeVar("Req", bound=Message)
Rep = TypeVar("Rep", bound=Message)


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

    def refusal(self, sentence: str) -> Conflict | Unavailable:
        """Why something that needs both cannot be done; the sentence ends with the problems."""
        problems = [FieldProblem(loc="problems", message=one) for one in self.problems]
        kind = Unavailable if self.is_unavailable else Conflict
        return kind(f"{sentence}: {' '.join(self.problems)}", problems)


class Resolver:
    """Pins a model to a revision and a dataset to a hash, or says why it cannot."""

    def __init__(self, bus: Bus, seconds: float = RESOLVE) -> None:
        self._bus = bus
        self._seconds = seconds

    async def resolve(self, model: str, dataset: str, revision: str | None = None) -> Resolution:
        """Look for both at once, so that a job is created in its time though the catalog is away.

        `revision` is the one that is wanted of the model; without it, the newest.
        """
        found_model, found_dataset = await asyncio.gather(
            self._ask(MODEL_RESOLVE, ResolveModel(id=model, revision=revision)),
            self._ask(DATASET_RESOLVE, ResolveDataset(reference=dataset)),
        )
        found = {"model": found_model, "dataset": found_dataset}
        errors = {what: one for what, one in found.items() if isinstance(one, TunedeckError)}
        return Resolution(
            found_model if isinstance(found_model, ResolvedModel) else None,
            found_dataset if isinstance(found_dataset, ResolvedDataset) else None,
            tuple(f"{what}: {error.detail}" for what, error in errors.items()),
            any(isinstance(error, Unavailable) for error in errors.values()),
        )

    async def _ask(self, rpc: Rpc[Req, Rep], message: Req) -> Rep | TunedeckError:
        """The answer, or why there is none; a refusal for want of something is taken at the second time."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer = await self._ask_once(rpc, message, self._seconds)
        if isinstance(answer, Unavailable) and (left := began + ASKED_AGAIN_SECONDS - loop.time()) > 0:
            await asyncio.sleep(min(left, RETRY_SECONDS))
            again = await self._ask_once(rpc, message, max(began + self._seconds - loop.time(), 0))
            # The first reason is the better one: the second may be that there was no time left.
            return answer if isinstance(again, Unavailable) else again
        return answer

    async def _ask_once(self, rpc: Rpc[Req, Rep], message: Req, seconds: float) -> Rep | TunedeckError:
        try:
            return await self._bus.request(rpc, message, timeout=seconds)
        except TunedeckError as error:
            return error
