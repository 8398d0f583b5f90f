"""Whether a folder still has the weights that a job was made for."""

import asyncio
from pathlib import Path

from tunedeck_chassis.folder_weights import FolderWeights
from tunedeck_contracts.errors import Conflict
from tunedeck_contracts.models import ResolvedModel


class PinnedWeights:
    """Of the folders below `models_dir`; what the Hub gives is of its commit."""

    def __init__(self, models_dir: Path) -> None:
        self._weights = FolderWeights(models_dir)

    async def check(self, model: ResolvedModel) -> None:
        """Raises Conflict where a model's folder has other weights than it is pinned to, or none."""
        if model.source != "folder":
            return
        found = await asyncio.to_thread(self._weights.revision, model.uid)
        if found != model.revision:
            raise Conflict(
                f"The weights in the folder of model {model.uid!r} were exchanged: they are {found}, and the "
                f"job was made for {model.revision}. Put those back and retry it, or create another job."
            )
