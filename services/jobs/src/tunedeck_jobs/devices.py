"""Which device a job waits for: the one that was asked for, or the one that its method needs."""

from tunedeck_contracts.errors import Conflict, FieldProblem, ValidationFailed
from tunedeck_contracts.jobs import Device, JobHyperparameters
from tunedeck_jobs.repository.trainers import TrainerRepository

_FOUR_BITS = "the method 'qlora' keeps the model in 4 bits, which needs a CUDA GPU"


class Devices:
    """Of new jobs, by what the trainers have that were heard of within a day."""

    def __init__(self, trainers: TrainerRepository) -> None:
        self._trainers = trainers

    async def wanted(self, asked: Device | None, settings: JobHyperparameters) -> Device | None:
        """The device that a job of these settings waits for.

        While no trainer was heard of nothing is refused: the first one may have a GPU.

        Raises:
            ValidationFailed: qlora on a CPU is asked for.
            Conflict: qlora where no trainer has a GPU, and it was not asked to wait for one.
        """
        if settings.method != "qlora" or asked is Device.GPU:
            return asked
        if asked is Device.CPU:
            sentence = f"device: {_FOUR_BITS}; leave device out, or choose the method 'lora'."
            raise ValidationFailed(sentence, [FieldProblem(loc="device", message=sentence)])
        known = await self._trainers.known_kinds()
        if known and Device.GPU not in known:
            raise Conflict(
                f"method: {_FOUR_BITS}, and no trainer that was heard of today has one; choose the method "
                '\'lora\', or send "device": "gpu" with the job to have it wait for such a trainer.'
            )
        return Device.GPU
