"""The workflow session: what is selected for the next job, and the job's configuration made of it."""

from enum import StrEnum

from pydantic import AliasChoices, ConfigDict, Field

from tunedeck_contracts.datasets import Dataset
from tunedeck_contracts.hyperparameters import ChosenHyperparameters
from tunedeck_contracts.jobs import JobHyperparameters, Reference
from tunedeck_contracts.message import CamelMessage, Message, Timestamp
from tunedeck_contracts.models import Model


class WorkflowStatus(StrEnum):
    """How far the selections are: the last of the three that is set, in this order."""

    CREATED = "created"
    DATASET_SELECTED = "dataset_selected"
    MODEL_SELECTED = "model_selected"
    HYPERPARAMETERS_CONFIGURED = "hyperparameters_configured"


class FinetuningSession(CamelMessage):
    """The one session of an installation."""

    id: str = Field(description="`session_<milliseconds>`.")
    created_at: Timestamp
    last_modified: Timestamp
    status: WorkflowStatus


class SelectedDataset(CamelMessage):
    """The dataset of the next job, with the name that it had when it was selected."""

    uid: str
    name: str
    selected_at: Timestamp


class SelectedModel(CamelMessage):
    """The model of the next job; `uid` and `baseModel` are its id."""

    model_config = ConfigDict(protected_namespaces=())

    uid: str
    base_model: str
    model_name: str
    provider: str


class SelectedHyperparameters(CamelMessage):
    """The settings of the next job; `GET /api/hyperparameters/{uid}` has them."""

    uid: str


class GetMetadata(Message):
    """What is selected."""


class Metadata(CamelMessage):
    """What `GET /api/metadata` answers: all four keys, null where nothing is selected."""

    finetuning_session: FinetuningSession
    dataset: SelectedDataset | None
    model: SelectedModel | None
    hyperparameters: SelectedHyperparameters | None


class ChosenDataset(Message):
    """A dataset to select."""

    uid: str = Field(min_length=1, max_length=200, description="A dataset's uid or `id`.")


class ChosenModel(Message):
    """A model to select."""

    uid: str = Field(
        min_length=1,
        max_length=200,
        validation_alias=AliasChoices("uid", "baseModel"),
        description="A model's id, as the collection, the models folder or the Hub has it; `baseModel` is "
        "taken in its place.",
    )


class MergeMetadata(Message):
    """Selections to change. A key that is absent stays as it is, null clears it. The session is read only."""

    dataset: ChosenDataset | None = None
    model: ChosenModel | None = None
    hyperparameters: ChosenHyperparameters | None = None

    def to_json(self) -> bytes:
        # What was not given is not sent: absent and null mean different things here.
        return self.model_dump_json(exclude_unset=True).encode()


class GetJobConfiguration(Message):
    """The selections, resolved."""


class ProposedConfiguration(CamelMessage):
    """The `configuration` of `POST /api/jobs`, complete when model and dataset are selected."""

    model: Reference | None
    dataset: Reference | None
    hyperparameters: JobHyperparameters = Field(description="The defaults where none are selected.")


class JobConfiguration(CamelMessage):
    """What `GET /api/job-configuration` answers."""

    configuration: ProposedConfiguration
    dataset: Dataset | None = Field(description="Null when none is selected, or it is gone.")
    model: Model | None = Field(description="As the collection has it; null when it is not there.")
    problems: list[str] = Field(
        description="What is missing before a job can be queued, and what would not be done as it is set."
    )
    ready: bool = Field(description="A job of this configuration would be queued now.")
