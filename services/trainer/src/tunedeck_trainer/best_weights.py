"""The weights with the lowest validation loss, which become the tuned model."""

import logging
import math
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from tunedeck_trainer import checkpoint_files as files
from tunedeck_trainer.trained_weights import check_weights, load_weights, save_weights

log = logging.getLogger("tunedeck")


class BestWeights:
    """Keeps them in a file, from the first evaluation after a step on; of equal losses, the first.

    The evaluation before the first step has none: a model that was not trained is no tuned model.
    """

    def __init__(self, folder: Path, keeps: bool = True) -> None:
        """`keeps`: false in a process that only has to know which they are."""
        self._file = folder / files.BEST_WEIGHTS
        self._keeps = keeps
        self.step: int | None = None
        self.loss = math.inf

    def judge(self, model: Any, step: int, loss: float, is_last: bool) -> None:
        """Keep the model's weights if no evaluation before was as low. After the last step the model itself
        has them. What the disk has no room for costs this step's weights, not the run."""
        if step == 0 or loss >= self.loss:
            return
        if self._keeps and not is_last:
            try:
                self._keep(model)
            except (OSError, SafetensorError) as error:
                log.warning("The weights of step %d, the best so far, were not kept: %s", step, error)
                return
        self.step, self.loss = step, loss

    def _keep(self, model: Any) -> None:
        draft = self._file.with_suffix(".draft")
        try:
            save_weights(model, draft)
            draft.replace(self._file)
        finally:
            draft.unlink(missing_ok=True)

    def put_into(self, model: Any, step: int) -> None:
        """Give the model, which is as it was after this step, the best weights."""
        if self._keeps and self.step is not None and self.step != step:
            load_weights(self._file, model)

    def copy_to(self, checkpoint: Path, step: int) -> None:
        """Let a checkpoint carry them, unless they are the weights of its own step."""
        if self.step is not None and self.step != step:
            shutil.copyfile(self._file, checkpoint / files.BEST_WEIGHTS)

    def go_on_from(self, checkpoint: Path, model: Any, step: int, best_step: int, loss: float) -> None:
        """Have those that a checkpoint of `step` carries.

        Raises:
            TornCheckpoint: they cannot be used.
        """
        carried = checkpoint / (files.WEIGHTS if best_step == step else files.BEST_WEIGHTS)
        check_weights(carried, model)
        if self._keeps:
            shutil.copyfile(carried, self._file)
        self.step, self.loss = best_step, loss
