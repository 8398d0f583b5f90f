"""The mode of new jobs: kept by the jobs service, shown with the focus by telemetry."""

from pydantic import Field

from tunedeck_contracts.jobs import TrainingMode
from tunedeck_contracts.message import Message


class GetMode(Message):
    """The mode of new jobs that do not say one."""


class Mode(Message):
    """How new jobs choose their hyperparameters."""

    mode: TrainingMode


class SetMode(Message):
    """Set the mode of new jobs; nothing stored changes."""

    mode: TrainingMode


class ModeSet(Message):
    """What `POST /api/training/mode/{mode}` answers."""

    message: str
    mode: TrainingMode
    reset: bool = True


class GetTrainingMode(Message):
    """The mode, and how far the job in focus is."""


class TrainingModeShown(Message):
    """What `GET /api/training/mode` answers."""

    mode: TrainingMode
    is_completed: bool = Field(description="Of the job started last; false when none has.")
    current_iteration: int = Field(description="Of the job started last; 0 before its first point.")
