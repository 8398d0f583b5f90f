"""The training mode of new jobs."""

from tunedeck_contracts.jobs import TrainingMode
from tunedeck_contracts.training_mode import Mode, ModeSet
from tunedeck_jobs.repository.mode import ModeRepository


class Modes:
    """What clients may ask of the mode."""

    def __init__(self, repository: ModeRepository) -> None:
        self._repository = repository

    async def get(self) -> Mode:
        """The mode of jobs that do not say one."""
        return Mode(mode=await self._repository.get())

    async def set(self, mode: TrainingMode) -> ModeSet:
        """Set it; no stored job changes."""
        await self._repository.set(mode)
        return ModeSet(message=f"Training mode set to {mode.value}", mode=mode)
