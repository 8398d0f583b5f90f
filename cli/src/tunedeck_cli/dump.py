"""Writes every database into a folder in mongodump's layout, all of one moment.

One snapshot session reads everything, the blobs last. MongoDB keeps a moment for five minutes by default;
where the blobs take longer, they are read as they are then: they never change, and only removed ones differ.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bson.json_util import CANONICAL_JSON_OPTIONS, dumps
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import OperationFailure

from tunedeck_chassis.blobs import BLOBS_DATABASE
from tunedeck_chassis.mongo import Client
from tunedeck_cli.errors import CommandFailed
from tunedeck_cli.manifest import MANIFEST, CollectionFiles, Manifest, digest
from tunedeck_contracts.message import utc_now

_OF_MONGODB = {"admin", "config", "local"}
_SNAPSHOT_TOO_OLD = 239
_SNAPSHOT_UNAVAILABLE = 246


async def dump(
    client: Client, folder: Path, *, databases: Sequence[str] = (), say: Callable[[str], None]
) -> Manifest:
    """Write the named databases, or all. `folder` is there only once it is whole.

    Raises:
        CommandFailed: the folder has something in it, there is nothing to back up, or the moment is lost.
    """
    with _appearing(folder) as whole:
        manifest = await _Dump(client, whole, say).run(databases)
        with _Written(whole / MANIFEST) as file:
            file.write(manifest.to_json())
    return manifest


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A hidden folder beside it, which takes its name at the end."""
    folder = folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CommandFailed(f"{folder} has something in it: name a new folder for the backup.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        whole = Path(temporary) / "backup"
        whole.mkdir(mode=0o700)
        yield whole
        whole.rename(folder)


class _Written:
    """A file that is on the disk when it is closed."""

    def __init__(self, path: Path) -> None:
        self._digest = hashlib.sha256()
        self._file = path.open("wb")
        self.size = 0
        self.documents = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, trace: TracebackType | None) -> None:
        with self._file:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)

    def write_documents(self, batch: bytes) -> None:
        """BSON documents one after the other; each begins with its length."""
        self.write(batch)
        at = 0
        while at < len(batch):
            at += int.from_bytes(batch[at : at + 4], "little")
            self.documents += 1


class _Dump:
    def __init__(self, client: Client, folder: Path, say: Callable[[str], None]) -> None:
        self._client = client
        self._folder = folder
        self._say = say
        self._blobs_at_one_moment = True

    async def run(self, wanted: Sequence[str]) -> Manifest:
        began = utc_now()
        names = await self._databases(wanted)
        async with self._client.start_session(snapshot=True) as session:
            try:
                await self._choose_moment(names, session)
                collections = [one for name in names for one in await self._dump_database(name, session)]
            except OperationFailure as error:
                raise _explained(error) from error
        return Manifest(
            tunedeck=version("tunedeck-cli"),
            mongodb=(await self._client.server_info())["version"],
            created_at=began,
            blobs_at_one_moment=self._blobs_at_one_moment,
            collections=collections,
        )

    async def _databases(self, wanted: Sequence[str]) -> list[str]:
        found = set(await self._client.list_database_names()) - _OF_MONGODB
        if missing := set(wanted) - found:
            raise CommandFailed(f"There is no database {', '.join(sorted(missing))} to back up.")
        if not found:
            raise CommandFailed("MongoDB has no database of Tunedeck's: there is nothing to back up.")
        return sorted(wanted or found, key=lambda name: (name == BLOBS_DATABASE, name))

    async def _choose_moment(self, names: Sequence[str], session: AsyncClientSession) -> None:
        """The first read of a collection does; what is listed after it lacks none that was there."""
        for name in names:
            for collection in await self._client[name].list_collection_names():
                await self._client[name][collection].find_one({}, {"_id": True}, session=session)
                return

    async def _dump_database(self, name: str, session: AsyncClientSession) -> list[CollectionFiles]:
        listed = await (await self._client[name].list_collections()).to_list()
        plain = [one for one in listed if not one["name"].startswith("system.")]
        # No snapshot can be read of a capped one.
        if other := [
            one["name"] for one in plain if one["type"] != "collection" or one["options"].get("capped")
        ]:
            raise CommandFailed(
                f"{name}.{other[0]} is no plain collection, which this command cannot back up: use mongodump."
            )
        (self._folder / name).mkdir(mode=0o700)
        # A blob's files document says how many chunks there must be, and so goes first.
        in_order = sorted(plain, key=lambda one: (one["name"].endswith(".chunks"), one["name"]))
        found = [await self._dump_collection(name, one, session) for one in in_order]
        self._say(f"{name}: {sum(one.documents for one in found)} documents")
        return found

    async def _dump_collection(
        self, database: str, listed: Mapping[str, Any], session: AsyncClientSession
    ) -> CollectionFiles:
        entry = CollectionFiles(
            database=database, collection=listed["name"], documents=0, bytes=0, sha256="", metadata_sha256=""
        )
        await self._write_metadata(entry, listed)
        try:
            written = await self._write_documents(entry, session)
        except OperationFailure as error:
            if database != BLOBS_DATABASE or error.code != _SNAPSHOT_TOO_OLD:
                raise
            written = await self._write_documents(entry, None)
            self._blobs_at_one_moment = False
            self._say(
                "The blobs took longer than MongoDB keeps a moment: those removed meanwhile are missing."
            )
        return entry.model_copy(
            update={
                "documents": written.documents,
                "bytes": written.size,
                "sha256": written.sha256,
                "metadata_sha256": digest(entry.metadata(self._folder)),
            }
        )

    async def _write_metadata(self, entry: CollectionFiles, listed: Mapping[str, Any]) -> None:
        collection = self._client[entry.database][entry.collection]
        described = {
            "options": listed["options"],
            "indexes": [dict(index) async for index in await collection.list_indexes()],
            "uuid": bytes(listed["info"]["uuid"]).hex(),
            "collectionName": entry.collection,
            "type": "collection",
        }
        with _Written(entry.metadata(self._folder)) as file:
            file.write(dumps(described, json_options=CANONICAL_JSON_OPTIONS).encode())

    async def _write_documents(self, entry: CollectionFiles, session: AsyncClientSession | None) -> _Written:
        collection = self._client[entry.database][entry.collection]
        with _Written(entry.bson(self._folder)) as file:
            # PyMongo annotates documents, and yields their bytes.
            batches: Any = collection.find_raw_batches({}, session=session)
            async for batch in batches:
                file.write_documents(batch)
        return file


def _explained(error: OperationFailure) -> CommandFailed | OperationFailure:
    if error.code == _SNAPSHOT_TOO_OLD:
        return CommandFailed(
            "The documents took longer to read than MongoDB keeps a moment: raise its parameter "
            "minSnapshotHistoryWindowInSeconds (300 by default), and back up again."
        )
    if error.code == _SNAPSHOT_UNAVAILABLE:
        return CommandFailed(
            "A collection or an index was made while the backup began, as at the first start of a service: "
            "back up again."
        )
    return error
