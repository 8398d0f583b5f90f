"""Reads a backup into MongoDB, once it is known to be whole."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bson import CodecOptions, decode_file_iter
from bson.json_util import CANONICAL_JSON_OPTIONS, loads
from bson.raw_bson import RawBSONDocument

from tunedeck_chassis.mongo import Client
from tunedeck_cli.errors import CommandFailed
from tunedeck_cli.manifest import CollectionFiles, Manifest, verified

BATCH_BYTES = 8 * 1024 * 1024
JOBS = ("tunedeck_jobs", "jobs")
FENCES_AHEAD = 1000
"""More than a job's fence can have grown since the backup: who works by a fence from then is refused."""

_RAW = CodecOptions(document_class=RawBSONDocument)


async def restore(client: Client, folder: Path, *, replace: bool, say: Callable[[str], None]) -> Manifest:
    """Bring the backup's databases to what they were; with `replace`, in the place of what they have now.

    Raises:
        CommandFailed: the backup is not whole, or there is data and it is not to be replaced.
    """
    manifest = verified(folder)
    say(f"{folder} is whole: {manifest.documents} documents in {len(manifest.databases)} databases")
    if not replace:
        await _refuse_occupied(client, manifest)
    for database in manifest.databases:
        for collection in await client[database].list_collection_names():
            await client[database].drop_collection(collection)
    for one in manifest.collections:
        await _load(client, folder, one)
    await _fence_out(client, manifest)
    say(f"{', '.join(manifest.databases)}: restored")
    return manifest


async def _refuse_occupied(client: Client, manifest: Manifest) -> None:
    for database in manifest.databases:
        for collection in await client[database].list_collection_names():
            if await client[database][collection].find_one({}, {"_id": True}) is not None:
                raise CommandFailed(
                    f"{database}.{collection} has documents, and nothing was changed. `--replace` removes "
                    f"what these databases have now and restores them: {', '.join(manifest.databases)}."
                )


async def _fence_out(client: Client, manifest: Manifest) -> None:
    """Trainers may still hold runs that began after the backup: the restored jobs are not theirs."""
    database, collection = JOBS
    if database in manifest.databases:
        held = {"fence": {"$exists": True}}
        await client[database][collection].update_many(held, {"$inc": {"fence": FENCES_AHEAD}})


async def _load(client: Client, folder: Path, one: CollectionFiles) -> None:
    described = loads(one.metadata(folder).read_bytes(), json_options=CANONICAL_JSON_OPTIONS)
    database = client[one.database]
    await database.command({"create": one.collection, **described["options"]})
    collection = database[one.collection].with_options(codec_options=_RAW)
    count = 0
    for batch in _batches(one.bson(folder)):
        await collection.insert_many(batch)
        count += len(batch)
    if count != one.documents:
        raise CommandFailed(
            f"{one.database}.{one.collection} has {count} documents and the manifest says {one.documents}: "
            "the backup was changed while it was read."
        )
    made = [index for index in described["indexes"] if index["name"] != "_id_"]
    if made:
        await database.command({"createIndexes": one.collection, "indexes": made})


def _batches(path: Path) -> Iterator[list[Any]]:
    """The documents of a file as they are, up to about 8 MiB at a time."""
    batch: list[Any] = []
    size = 0
    with path.open("rb") as file:
        for document in decode_file_iter(file, _RAW):
            batch.append(document)
            size += len(document.raw)
            if size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch
