"""The collection of models, and what a job pins."""

import asyncio
from importlib.resources import files

from pydantic import TypeAdapter

from tunedeck_catalog.folders import ModelFolders
from tunedeck_catalog.hub import Details, Hub
from tunedeck_catalog.model_names import LOCAL, checked_model_id, name_of, provider_of
from tunedeck_catalog.repository.models import ModelRepository
from tunedeck_contracts.errors import Conflict, NotFound, Unavailable
from tunedeck_contracts.models import (
    AddModel,
    FoundModels,
    Model,
    ModelAdded,
    ModelCheck,
    ModelCollection,
    ModelRemoved,
    ResolvedModel,
)


def built_in_models() -> list[Model]:
    """The collection of a new installation."""
    text = files("tunedeck_catalog").joinpath("built_in_models.json").read_bytes()
    return TypeAdapter(list[Model]).validate_json(text)


class Models:
    """The collection, the Hub's search, and pinning."""

    def __init__(self, repository: ModelRepository, hub: Hub, folders: ModelFolders) -> None:
        self._repository = repository
        self._hub = hub
        self._folders = folders

    async def list(self) -> ModelCollection:
        """Every model, the recommended first; categories and providers begin with the word for all."""
        models = await self._repository.models()
        return ModelCollection(
            models=models,
            categories=["All Models", *sorted({model.category for model in models})],
            providers=["All Providers", *sorted({model.provider for model in models})],
        )

    async def get(self, model_id: str) -> Model:
        """One model of the collection.

        Raises:
            NotFound: it is not in the collection.
            ValidationFailed: the id is none.
        """
        model = await self._repository.model(checked_model_id(model_id))
        if model is None:
            raise _absent(model_id)
        return model

    async def check(self, model_id: str) -> ModelCheck:
        """Whether the collection has it.

        Raises:
            ValidationFailed: the id is none, so no model can have it.
        """
        exists = await self._repository.has_model(checked_model_id(model_id))
        return ModelCheck(exists=exists, model_id=model_id)

    async def remove(self, model_id: str) -> ModelRemoved:
        """Take a model out of the collection. A job that was made with it keeps what it has pinned.

        Raises:
            NotFound: it is not in the collection.
            ValidationFailed: the id is none.
        """
        if not await self._repository.remove_model(checked_model_id(model_id)):
            raise _absent(model_id)
        return ModelRemoved(message=f"Successfully removed model '{model_id}'")

    async def search(self, query: str, limit: int) -> FoundModels:
        """Ask the Hub.

        Raises:
            Unavailable: it cannot be reached.
        """
        return FoundModels(models=await self._hub.search(query, limit))

    async def add(self, message: AddModel) -> ModelAdded:
        """Add a model; the Hub fills in what the caller left out, if it answers soon.

        Raises:
            Conflict: it is in the collection.
            ValidationFailed: the id is none.
            NotFound: there is no such folder of one's own.
        """
        model_id = checked_model_id(message.id)
        if await self._repository.has_model(model_id):
            raise _exists(model_id)
        details = await self._local_details(model_id)
        if details is None and not _is_local(model_id):
            details = await self._hub.details(model_id)
        model = _model(message, details)
        if not await self._repository.insert_model(model):
            raise _exists(model_id)
        return ModelAdded(model=model, message=f"Successfully added '{model.name}' to your collection")

    async def resolve(self, model_id: str, wanted: str | None = None) -> ResolvedModel:
        """Pin an id: the folder of that name if there is one, else the Hub's newest or the wanted commit.

        Raises:
            NotFound: it is in neither, or not at the wanted revision.
            Unavailable: there is no folder, and the Hub cannot be reached.
            Conflict: it is there and cannot be used.
        """
        checked_model_id(model_id)
        if await asyncio.to_thread(self._folders.has, model_id):
            revision = await asyncio.to_thread(self._folders.revision, model_id)
            if wanted not in (None, revision):
                raise NotFound(
                    f"The weights in the model folder {model_id!r} are {revision}; {wanted} is wanted. "
                    "Put those weights there, or leave the revision out."
                )
            return await self._resolved(model_id, revision, "folder")
        if _is_local(model_id):
            raise self._no_folder(model_id)
        try:
            return await self._resolved(model_id, await self._hub.commit(model_id, wanted), "hub")
        except NotFound as error:
            raise NotFound(f"There is no model {model_id!r} in the models folder. {error.detail}") from None
        except Unavailable as error:
            raise Unavailable(f"Model {model_id!r} is not in the models folder. {error.detail}") from None

    async def _resolved(self, model_id: str, revision: str, source: str) -> ResolvedModel:
        known = await self._repository.model(model_id)
        name = known.name if known is not None else name_of(model_id)
        return ResolvedModel(uid=model_id, name=name, revision=revision, source=source)

    async def _local_details(self, model_id: str) -> Details | None:
        if not await asyncio.to_thread(self._folders.has, model_id):
            if _is_local(model_id):
                raise self._no_folder(model_id)
            return None
        length = await asyncio.to_thread(self._folders.context_length, model_id)
        return Details(context_length=length, gated=False)

    def _no_folder(self, model_id: str) -> NotFound:
        return NotFound(
            f"There is no model folder {model_id!r}: put config.json, the tokenizer and *.safetensors "
            f"into {model_id}/ below TUNEDECK_MODELS_DIR."
        )


def _is_local(model_id: str) -> bool:
    return model_id.startswith(f"{LOCAL}/")


def _absent(model_id: str) -> NotFound:
    return NotFound(f"Model '{model_id}' is not in your collection; GET /api/models lists what is.")


def _exists(model_id: str) -> Conflict:
    return Conflict(f"Model '{model_id}' already exists in your collection")


def _model(message: AddModel, details: Details | None) -> Model:
    known = details or Details()
    return Model(
        id=message.id,
        name=message.name or name_of(message.id),
        provider=message.provider or provider_of(message.id),
        category=message.category,
        description=message.description,
        parameters=message.parameters or known.parameters,
        context_length=message.context_length or known.context_length,
        license=message.license or known.license,
        download_size=message.download_size or known.download_size,
        tags=message.tags or known.tags,
        capabilities=message.capabilities,
        recommended=False,
        performance=message.performance,
        use_case=message.use_case,
        gated=known.gated if message.gated is None else message.gated,
    )
