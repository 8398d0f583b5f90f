"""What is selected for the next job, as the catalog keeps it."""

from dataclasses import dataclass
from datetime import datetime

from tunedeck_contracts.workflow import (
    FinetuningSession,
    Metadata,
    SelectedDataset,
    SelectedHyperparameters,
    SelectedModel,
    WorkflowStatus,
)

Selection = SelectedDataset | SelectedModel | SelectedHyperparameters


@dataclass(frozen=True)
class Selections:
    """The session of an installation, and its three selections."""

    session_id: str
    created_at: datetime
    last_modified: datetime
    dataset: SelectedDataset | None
    model: SelectedModel | None
    hyperparameters: SelectedHyperparameters | None

    @property
    def status(self) -> WorkflowStatus:
        """The last of the three that is set."""
        if self.hyperparameters is not None:
            return WorkflowStatus.HYPERPARAMETERS_CONFIGURED
        if self.model is not None:
            return WorkflowStatus.MODEL_SELECTED
        return WorkflowStatus.CREATED if self.dataset is None else WorkflowStatus.DATASET_SELECTED

    def metadata(self) -> Metadata:
        """As api.md shows them."""
        return Metadata(
            finetuning_session=FinetuningSession(
                id=self.session_id,
                created_at=self.created_at,
                last_modified=self.last_modified,
                status=self.status,
            ),
            dataset=self.dataset,
            model=self.model,
            hyperparameters=self.hyperparameters,
        )
