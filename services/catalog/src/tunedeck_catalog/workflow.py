"""The workflow session: selects a dataset, a model and settings, and makes a job's configuration of them."""

from tunedeck_catalog.model_names import provider_of
from tunedeck_catalog.models import Models
from tunedeck_catalog.presets import foreign
from tunedeck_catalog.repository.datasets import DatasetRepository
from tunedeck_catalog.repository.workflow import WorkflowRepository
from tunedeck_catalog.selections import Selection
from tunedeck_contracts.datasets import Dataset
from tunedeck_contracts.errors import FieldProblem, NotFound, TunedeckError, ValidationFailed
from tunedeck_contracts.hyperparameters import (
    ChosenHyperparameters,
    Hyperparameters,
    decode_uid,
    encode_uid,
    unheeded,
)
from tunedeck_contracts.jobs import JobHyperparameters, Reference
from tunedeck_contracts.message import utc_now
from tunedeck_contracts.models import Model
from tunedeck_contracts.workflow import (
    ChosenDataset,
    ChosenModel,
    JobConfiguration,
    MergeMetadata,
    Metadata,
    ProposedConfiguration,
    SelectedDataset,
    SelectedHyperparameters,
    SelectedModel,
)


class Workflow:
    """The one session of an installation."""

    def __init__(self, repository: WorkflowRepository, datasets: DatasetRepository, models: Models) -> None:
        self._repository = repository
        self._datasets = datasets
        self._models = models

    async def metadata(self) -> Metadata:
        """What is selected."""
        return (await self._repository.selections()).metadata()

    async def merge(self, message: MergeMetadata) -> Metadata:
        """Change the selections that the message names; null clears one. All or none are stored.

        Raises:
            NotFound: something that it names is not known; `errors` has every path.
            Conflict: the model cannot be trained. Unavailable: the Hub could not be asked for it.
        """
        changes: dict[str, Selection | None] = {}
        errors: list[tuple[str, TunedeckError]] = []
        for name in sorted(message.model_fields_set):
            try:
                changes[name] = await self._selected(getattr(message, name))
            except TunedeckError as error:
                errors.append((f"{name}.uid", error))
        if errors:
            problems = [FieldProblem(loc=path, message=error.detail) for path, error in errors]
            raise type(errors[0][1])(" ".join(problem.message for problem in problems), problems)
        if not changes:
            return await self.metadata()
        return (await self._repository.select(changes)).metadata()

    async def configuration(self) -> JobConfiguration:
        """The selections resolved now, as the configuration of a job."""
        selected = await self._repository.selections()
        dataset, dataset_problem = await self._dataset_now(selected.dataset)
        model, model_problem = await self._model_now(selected.model)
        settings = _settings(selected.hyperparameters)
        missing = [problem for problem in (dataset_problem, model_problem) if problem is not None]
        return JobConfiguration(
            configuration=ProposedConfiguration(
                model=selected.model and Reference(uid=selected.model.uid, name=selected.model.model_name),
                dataset=selected.dataset and Reference(uid=selected.dataset.uid, name=selected.dataset.name),
                hyperparameters=JobHyperparameters(uid=encode_uid(settings), **settings.model_dump()),
            ),
            dataset=dataset,
            model=model,
            problems=[*missing, *unheeded(settings)],
            ready=not missing,
        )

    async def _dataset_now(self, selected: SelectedDataset | None) -> tuple[Dataset | None, str | None]:
        """Its record, and what is wrong with it."""
        if selected is None:
            return None, "dataset: none is selected; POST /api/metadata selects one."
        saved = await self._datasets.dataset(selected.uid)
        if saved is None:
            return None, f"dataset: {_no_dataset(selected.uid).detail}"
        return saved.dataset, None

    async def _model_now(self, selected: SelectedModel | None) -> tuple[Model | None, str | None]:
        """Its record in the collection, and why no job could have it."""
        if selected is None:
            return None, "model: none is selected; POST /api/metadata selects one."
        known = await self._collected(selected.uid)
        try:
            await self._models.resolve(selected.uid)
        except TunedeckError as error:
            return known, f"model: {error.detail}"
        return known, None

    async def _selected(
        self, chosen: ChosenDataset | ChosenModel | ChosenHyperparameters | None
    ) -> Selection | None:
        match chosen:
            case ChosenDataset(uid=reference):
                return await self._selected_dataset(reference)
            case ChosenModel(uid=model_id):
                return await self._selected_model(model_id)
            case ChosenHyperparameters():
                if chosen.uid is not None and chosen.is_foreign:
                    raise foreign(chosen.uid, "uid")
                return SelectedHyperparameters(uid=encode_uid(chosen.settings()))
            case _:
                return None

    async def _selected_dataset(self, reference: str) -> SelectedDataset:
        saved = await self._datasets.dataset(reference)
        if saved is None:
            raise _no_dataset(reference)
        return SelectedDataset(uid=saved.dataset.uid, name=saved.dataset.name, selected_at=utc_now())

    async def _selected_model(self, model_id: str) -> SelectedModel:
        """A model of the collection, else one that a job could have: of the models folder or the Hub."""
        try:
            known = await self._collected(model_id)
            name = known.name if known else (await self._models.resolve(model_id)).name
        except ValidationFailed as error:
            raise NotFound(f"There is no model {model_id!r}: {error.detail}") from None
        provider = known.provider if known else provider_of(model_id)
        return SelectedModel(uid=model_id, base_model=model_id, model_name=name, provider=provider)

    async def _collected(self, model_id: str) -> Model | None:
        try:
            return await self._models.get(model_id)
        except NotFound:
            return None


def _no_dataset(reference: str) -> NotFound:
    return NotFound(f"There is no dataset {reference!r}; GET /api/datasets lists what there is.")


def _settings(selected: SelectedHyperparameters | None) -> Hyperparameters:
    if selected is None:
        return Hyperparameters()
    settings = decode_uid(selected.uid)
    assert settings is not None, "only a uid of ours is stored"
    return settings
