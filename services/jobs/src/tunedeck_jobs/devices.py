"""Which device a job waits for: the one that was asked for, or the one that its method needs."""

from tunedeck_contracts.errors import Conflict, FieldProblem, ValidationFailed
from tunedeck_contracts.jobs import Device, JobHyperparameters
from tunedeck_jobs.repository.trainers import TrainerRepository

_FOUR_BITS = "the method 'qlora' keeps the model in 4 bits, which needs a CUDA GPU"


class Devices:
    """Of new jobs, by what the trainers that were heard of have."""

    def __init__(self, trainers: TrainerRepository) -> None:
        self._trainers = trainers

    async def wanted(self, asked: Device | None, settings: JobHyperparameters) -> Device | None:
        """The device that a job of these settings waits for.

        Before any trainer was heard of nothing is refused: the first one may have a GPU.

        Raises:
            ValidationFailed: qlora on a CPU is asked for.
            Conflict: qlora where no trainer has a GPU, and it was not asked to wait for one.
        """
        if settings.method != "qlora":
            return asked
        if asked is Device.CPU:
            sentence = f"device: {_FOUR_BITS}; leave device out, or choose the method 'lora'."
            raise ValidationFailed(sentence, [FieldProblem(loc="device", message=sentence)])
        there = [trainer.devices for trainer in await self._trainers.present()]
        if asked is None and there and not any(Device.GPU in devices for devices in there):
            raise Conflict(
                f"method: {_FOUR_BITS}, and no trainer that is there has one; choose the method 'lora', or "
                'send "device": "gpu" with the job to have it wait for such a trainer.'
            )
        return Device.GPU
