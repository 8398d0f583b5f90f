"""What every run of a trainer uses."""

from dataclasses import dataclass, field

from tunedeck_chassis.blobs import BlobStore
from tunedeck_chassis.bus import Bus
from tunedeck_trainer.device_turn import DeviceTurn
from tunedeck_trainer.hardware import Hardware
from tunedeck_trainer.settings import TrainerSettings


@dataclass(frozen=True)
class Surroundings:
    """Made once, when the service starts."""

    settings: TrainerSettings
    trainer_id: str
    device: str
    """The first of `devices`."""
    bus: Bus
    blobs: BlobStore
    hardware: Hardware
    devices: tuple[str, ...] = ()
    """A run trains on all of them, with a process for each; none are as one."""
    turn: DeviceTurn = field(default_factory=DeviceTurn)
