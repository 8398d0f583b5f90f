"""The order in which a run reads its rows."""

from collections.abc import Iterator

import torch
from transformers.trainer_pt_utils import LengthGroupedSampler


class EpochOrder(LengthGroupedSampler):  # type: ignore[misc]
    """Rows of like length together, shuffled anew each epoch.

    The order follows from the seed and the epoch alone, so that a resumed run finds its place in it:
    transformers shuffles by the global random state, which depends on all that was drawn before.
    """

    def __init__(self, lengths: list[int], rows_a_step: int, seed: int) -> None:
        super().__init__(rows_a_step, lengths=lengths)
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch that comes, from 0."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator = torch.Generator().manual_seed((self._seed << 24) + self._epoch)
        return super().__iter__()  # type: ignore[no-any-return]
