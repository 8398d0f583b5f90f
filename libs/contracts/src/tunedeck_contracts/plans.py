"""What a job would train, or has trained, for a trainer that answers about it without running it."""

from pydantic import Field

from tunedeck_contracts.datasets import ResolvedDataset
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.jobs import Device, RequestedConfiguration, Status
from tunedeck_contracts.message import CamelMessage, Message
from tunedeck_contracts.model_saving import StoredArtifact
from tunedeck_contracts.models import ResolvedModel


class GetPlan(Message):
    """The plan of one job, whatever its state."""

    uid: str


class EstimateJob(CamelMessage):
    """What `POST /api/jobs/estimate` takes: of a job's body what decides; the rest of it is not read."""

    configuration: RequestedConfiguration
    device: Device | None = Field(
        default=None,
        description="As in a job's body; null: what the trainer trains on that answers, or of the method "
        "qlora a GPU.",
    )


class Plan(Message):
    """A job's model, rows and settings: as its runs have them, or would have them if it were queued now."""

    job_uid: str = Field(description="Empty of a job that is not stored.")
    model: ResolvedModel
    dataset: ResolvedDataset
    hyperparameters: Hyperparameters
    status: Status
    device: Device | None = Field(default=None, description="What the job asks of its trainer.")
    artifacts: list[StoredArtifact] = Field(
        default=[], description="The files of its tuned model; empty while there are none."
    )
