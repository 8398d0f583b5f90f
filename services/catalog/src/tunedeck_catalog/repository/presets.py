"""Saved presets, by name."""

from pymongo import ASCENDING, DESCENDING

from tunedeck_chassis.mongo import Client, Document
from tunedeck_contracts.presets import Preset


class PresetRepository:
    """The presets of one database."""

    def __init__(self, client: Client, database: str) -> None:
        self._presets = client[database]["presets"]

    async def prepare(self) -> None:
        """Create the indexes."""
        await self._presets.create_index([("saved_at", DESCENDING)])
        await self._presets.create_index([("uid", ASCENDING), ("saved_at", ASCENDING)])

    async def save(self, preset: Preset) -> None:
        """Store it in place of the one of its name."""
        fields = preset.model_dump(by_alias=False, exclude={"name", "built_in"})
        await self._presets.replace_one({"_id": preset.name}, fields, upsert=True)

    async def newest(self, limit: int) -> list[Preset]:
        """Those saved last, first."""
        cursor = self._presets.find().sort([("saved_at", DESCENDING), ("_id", ASCENDING)]).limit(limit)
        return [_to_preset(document) async for document in cursor]

    async def oldest(self, uid: str) -> Preset | None:
        """The one that has had these settings for the longest, or None."""
        found = await self._presets.find_one({"uid": uid}, sort=[("saved_at", ASCENDING)])
        return _to_preset(found) if found else None


def _to_preset(document: Document) -> Preset:
    return Preset.model_validate({**document, "name": document["_id"], "built_in": False})
