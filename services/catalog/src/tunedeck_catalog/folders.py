"""Model folders below TUNEDECK_MODELS_DIR."""

import json

from tunedeck_catalog.model_config import context_length
from tunedeck_chassis.folder_weights import FolderWeights


class ModelFolders(FolderWeights):
    """Finds folders, and pins their weights. Its methods read the disk: call them in a thread."""

    def has(self, model_id: str) -> bool:
        """Whether there is a model folder of this (checked) id."""
        return (self.root / model_id / "config.json").is_file()

    def context_length(self, model_id: str) -> int | None:
        """Positions that the folder's config.json names."""
        try:
            config = json.loads((self.root / model_id / "config.json").read_bytes())
        except (OSError, ValueError):
            return None
        return context_length(config)
