"""The training mode of new jobs: one document."""

from tunedeck_chassis.mongo import Client
from tunedeck_contracts.jobs import TrainingMode

_KEY = {"_id": "training_mode"}


class ModeRepository:
    """Keeps the mode; manual until one is set."""

    def __init__(self, client: Client, database: str) -> None:
        self._settings = client[database]["settings"]

    async def get(self) -> TrainingMode:
        """The mode of jobs that do not say one."""
        found = await self._settings.find_one(_KEY)
        return TrainingMode(found["mode"]) if found else TrainingMode.MANUAL

    async def set(self, mode: TrainingMode) -> None:
        """Set it."""
        await self._settings.update_one(_KEY, {"$set": {"mode": mode.value}}, upsert=True)
