"""What every run of a trainer uses."""

from dataclasses import dataclass

from tunedeck_chassis.blobs import BlobStore
from tunedeck_chassis.bus import Bus
from tunedeck_contracts.jobs import Device
from tunedeck_trainer.hardware import Hardware
from tunedeck_trainer.settings import TrainerSettings


@dataclass(frozen=True)
class Surroundings:
    """Made once, when the service starts; `device` is that of who asks for none, the first of `devices`."""

    settings: TrainerSettings
    trainer_id: str
    device: str
    bus: Bus
    blobs: BlobStore
    hardware: Hardware
    devices: tuple[str, ...] = ()

    def device_for(self, asked: Device | None) -> str:
        """The first device of the kind that a job asks for."""
        if asked is None:
            return self.device
        fitting = (one for one in self.devices if (one == "cpu") == (asked is Device.CPU))
        return next(fitting, self.device)
