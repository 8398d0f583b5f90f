"""The workflow session: one document."""

import contextlib
from collections.abc import Mapping

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from tunedeck_catalog.selections import Selection, Selections
from tunedeck_chassis.mongo import Client, Document
from tunedeck_contracts.ids import new_session_id
from tunedeck_contracts.message import utc_now
from tunedeck_contracts.workflow import SelectedDataset, SelectedHyperparameters, SelectedModel

_KEY = {"_id": "session"}


class WorkflowRepository:
    """The session of one database."""

    def __init__(self, client: Client, database: str) -> None:
        self._workflow = client[database]["workflow"]

    async def selections(self) -> Selections:
        """The session, made by whoever asks first."""
        return _to_selections(await self._workflow.find_one(_KEY) or await self._created())

    async def select(self, changes: Mapping[str, Selection | None]) -> Selections:
        """Set the given selections and no others, in one write: what others set meanwhile stays."""
        await self.selections()
        fields = {name: one and one.model_dump(by_alias=False) for name, one in changes.items()}
        changed = await self._workflow.find_one_and_update(
            _KEY,
            {"$set": fields, "$max": {"last_modified": utc_now()}},
            return_document=ReturnDocument.AFTER,
        )
        assert changed is not None
        return _to_selections(changed)

    async def _created(self) -> Document:
        now = utc_now()
        new: Document = {
            "session_id": new_session_id(now),
            "created_at": now,
            "last_modified": now,
            "dataset": None,
            "model": None,
            "hyperparameters": None,
        }
        with contextlib.suppress(DuplicateKeyError):  # Another has made it in the same moment.
            await self._workflow.update_one(_KEY, {"$setOnInsert": new}, upsert=True)
        found = await self._workflow.find_one(_KEY)
        assert found is not None
        return found


def _to_selections(document: Document) -> Selections:
    dataset, model = document["dataset"], document["model"]
    hyperparameters = document["hyperparameters"]
    return Selections(
        session_id=document["session_id"],
        created_at=document["created_at"],
        last_modified=document["last_modified"],
        dataset=SelectedDataset.model_validate(dataset) if dataset else None,
        model=SelectedModel.model_validate(model) if model else None,
        hyperparameters=SelectedHyperparameters.model_validate(hyperparameters) if hyperparameters else None,
    )
