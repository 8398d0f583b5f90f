"""What every run of a trainer uses."""

from dataclasses import dataclass, field

from tunedeck_chassis.blobs import BlobStore
from tunedeck_chassis.bus import Bus
from tunedeck_chassis.disk_guard import DiskGuard
from tunedeck_contracts.jobs import Device
from tunedeck_trainer.device_turn import DeviceTurn
from tunedeck_trainer.hardware import Hardware
from tunedeck_trainer.pinned_weights import PinnedWeights
from tunedeck_trainer.settings import TrainerSettings


@dataclass(frozen=True)
class Surroundings:
    """Made once, when the service starts; `device` is that of who asks for none, the first of `devices`."""

    settings: TrainerSettings
    trainer_id: str
    device: str
    """The first of `devices`."""
    bus: Bus
    blobs: BlobStore
    hardware: Hardware
    weights: PinnedWeights
    disk: DiskGuard
    """Of the blob store."""
    devices: tuple[str, ...] = ()
    """A run trains on all of one kind, with a process for each; none are as one."""
    turn: DeviceTurn = field(default_factory=DeviceTurn)

    def devices_for(self, asked: Device | None) -> tuple[str, ...]:
        """Those of the kind that a job asks for; of the first one's kind where it asks for none."""
        on_cpu = self.device == "cpu" if asked is None else asked is Device.CPU
        return tuple(one for one in self.devices if (one == "cpu") == on_cpu) or (self.device,)
