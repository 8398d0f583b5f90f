"""The training processes of a run, one for each of its devices, and what passes between them.

Each goes through the whole recipe with the same seed, the same batches and the same steps, and computes its
share of every batch's rows. Losses and gradients are sums over all of them, divided by the tokens of all of
them, so that all keep the same weights: those of one process that computes the whole batch. To transformers
each looks alone. DistributedDataParallel would do it only for a loss that goes through the model's own
forward; ours does not.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunedeck_trainer.failures import PeerLost
from tunedeck_trainer.pipe import MEETING_FILE, Wishes

Item = TypeVar("Item")

_LAUNCHERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE")

# All wait while the first writes a checkpoint to a slow disk. One that has ended ends the others at once.
_PATIENCE = timedelta(hours=12)


class Ranks:
    """This process among those of its run: `index` of `count`. Alone, it changes nothing.

    What passes between them is waited for: all must ask for the same, in the same order.
    """

    def __init__(self, index: int = 0, count: int = 1) -> None:
        self.index = index
        self.count = count
        self._told = self._heeded = Wishes()

    @classmethod
    def joined(cls, on_gpu: bool) -> "Ranks":
        """Meet the others that were launched with this one, if any were."""
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1:
            return cls()
        ranks = cls(int(os.environ["RANK"]), count)
        with _peers():
            distributed.init_process_group(
                "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
                store=distributed.FileStore(os.environ[MEETING_FILE], count),
                rank=ranks.index,
                world_size=count,
                timeout=_PATIENCE,
            )
        # It warns that DistributedDataParallel is not used.
        logging.getLogger("transformers.training_args").setLevel(logging.ERROR)
        for name in _LAUNCHERS:
            # accelerate would split the batches, and average the gradients, a second time.
            os.environ.pop(name, None)
        return ranks

    def part(self) -> None:
        """Leave the others: from here on nothing passes between them."""
        if self.count > 1:
            distributed.destroy_process_group()

    @property
    def is_first(self) -> bool:
        """Whether this is the one that tells, and writes files."""
        return self.index == 0

    def share(self, batch: list[Item]) -> list[Item]:
        """Which rows of a batch are this process's; none, where there are fewer rows than processes."""
        return batch[self.index :: self.count]

    def total(self, figure: float) -> float:
        """The sum of all processes' figures."""
        if self.count == 1:
            return figure
        return float(self.summed(torch.tensor(figure, dtype=torch.float64)).item())

    def all_agree(self, answer: bool) -> bool:
        """Whether it is so in every process."""
        return self.total(float(answer)) == self.count

    def as_first(self, answer: bool) -> bool:
        """What the first process answers."""
        return self.total(float(answer and self.is_first)) > 0

    def summed(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum of all processes' tensors, which takes the place of this one's."""
        if self.count > 1:
            with _peers():
                distributed.all_reduce(tensor)
        return tensor

    def sum_gradients(self, model: Any) -> None:
        """Give each weight that is trained the sum of its gradients in all processes.

        Not in each has each weight one; a weight that has none in any keeps none, as in one process.
        """
        if self.count == 1:
            return
        trained = [one for one in model.parameters() if one.requires_grad]
        having = self.summed(torch.tensor([one.grad is not None for one in trained], dtype=torch.int32))
        for one, processes in zip(trained, having.tolist(), strict=True):
            if processes and one.grad is None:
                one.grad = torch.zeros_like(one)
        gradients = [one.grad for one in trained if one.grad is not None]
        with _peers():
            for waiting in [distributed.all_reduce(one, async_op=True) for one in gradients]:
                waiting.wait()

    def draw_alike(self, seed: int) -> None:
        """Have all processes draw the same random numbers from here on."""
        if self.count > 1:
            torch.manual_seed(seed)

    def follow(self, told: Wishes) -> Wishes:
        """The wishes that all processes heed: those told to the first, as they were when all heard last."""
        self._told = told
        self._heeded = told if self.count == 1 else Wishes()
        return self._heeded

    def hear(self) -> None:
        """Have all processes know what is wanted now."""
        if self.count == 1:
            return
        if self.as_first(self._told.cancelled.is_set()):
            self._heeded.cancelled.set()
        if self.as_first(self._told.paused.is_set()):
            self._heeded.paused.set()
        else:
            self._heeded.paused.clear()


ALONE = Ranks()


class InStep(TrainerCallback):  # type: ignore[misc]
    """Before each step, random numbers of this process's own; after it, what is wanted of all.

    The numbers follow from seed, step and process, so that a resumed run draws them again: only the first
    process's random states are in a checkpoint.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        torch.manual_seed((args.seed << 31) + state.global_step * self._ranks.count + self._ranks.index)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._ranks.hear()


@contextmanager
def _peers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise PeerLost(str(error)) from error
