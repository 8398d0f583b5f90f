"""The collection of models."""

from collections.abc import Sequence

from pymongo import ASCENDING, DESCENDING, UpdateOne
from pymongo.errors import DuplicateKeyError

from tunedeck_chassis.mongo import Client, Document
from tunedeck_contracts.message import utc_now
from tunedeck_contracts.models import Model


class ModelRepository:
    """The models of one database."""

    def __init__(self, client: Client, database: str) -> None:
        self._models = client[database]["models"]
        self._installation = client[database]["installation"]

    async def prepare(self, built_in: Sequence[Model]) -> None:
        """A new installation gets the built-in models."""
        await self._seed(built_in)

    async def models(self) -> list[Model]:
        """The collection: the recommended first, then by name."""
        cursor = self._models.find().sort([("recommended", DESCENDING), ("name", ASCENDING)])
        return [_to_model(document) async for document in cursor]

    async def model(self, model_id: str) -> Model | None:
        """One model of the collection, or None."""
        document = await self._models.find_one({"_id": model_id})
        return _to_model(document) if document else None

    async def has_model(self, model_id: str) -> bool:
        """Whether the collection has it."""
        return await self._models.find_one({"_id": model_id}, {"_id": True}) is not None

    async def insert_model(self, model: Model) -> bool:
        """Add a model; False if it is there already."""
        try:
            await self._models.insert_one({"_id": model.id, **_model_fields(model)})
        except DuplicateKeyError:
            return False
        return True

    async def remove_model(self, model_id: str) -> bool:
        """Take a model out; False if it is not there."""
        return (await self._models.delete_one({"_id": model_id})).deleted_count == 1

    async def _seed(self, built_in: Sequence[Model]) -> None:
        if await self._installation.find_one({"_id": "built_in_models"}) is not None:
            return
        # Upserts, then the mark: a crash in between or a second process does no harm.
        await self._models.bulk_write(
            [
                UpdateOne({"_id": model.id}, {"$setOnInsert": _model_fields(model)}, upsert=True)
                for model in built_in
            ]
        )
        await self._installation.update_one(
            {"_id": "built_in_models"}, {"$setOnInsert": {"at": utc_now()}}, upsert=True
        )


def _model_fields(model: Model) -> Document:
    return model.model_dump(by_alias=False, exclude={"id"})


def _to_model(document: Document) -> Model:
    return Model.model_validate({**document, "id": document["_id"]})
