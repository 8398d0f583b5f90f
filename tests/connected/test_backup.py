"""A backup is of one moment, and what is restored from it is what was there: documents, indexes, blobs."""

import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId, decode_all
from pymongo import ASCENDING, DESCENDING
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import OperationFailure

from tunedeck_chassis import mongo
from tunedeck_chassis.blobs import BlobStore
from tunedeck_chassis.settings import ServiceSettings
from tunedeck_cli import dump as dumping
from tunedeck_cli import restore as restoring
from tunedeck_cli.dump import dump
from tunedeck_cli.errors import CommandFailed
from tunedeck_cli.manifest import Manifest, verified
from tunedeck_cli.restore import restore
from tunedeck_contracts.message import utc_now

CONTENT = bytes(range(256)) * 4096 * 2 + b"the end"


def silent(_: str) -> None:
    """Tells nobody."""


@pytest.fixture
async def client(mongo_url: str) -> AsyncIterator[mongo.Client]:
    async with mongo.connect(ServiceSettings(mongo_url=mongo_url)) as one:
        yield one


@pytest.fixture
async def names(client: mongo.Client, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """A database with documents and one with blobs, both of this test alone."""
    mark = uuid.uuid4().hex[:8]
    found = [f"things_{mark}", f"blobs_{mark}"]
    monkeypatch.setattr(dumping, "BLOBS_DATABASE", found[1])
    await fill(client, found)
    yield found
    for name in found:
        await client.drop_database(name)


async def fill(client: mongo.Client, names: list[str]) -> str:
    """Every kind of value, an index of each kind, an empty collection, and a blob; returns the blob's id."""
    things = client[names[0]]["things"]
    await things.create_index([("name", ASCENDING), ("n", DESCENDING)], unique=True)
    await things.create_index([("at", ASCENDING)], expireAfterSeconds=3600)
    await things.create_index([("tag", ASCENDING)], partialFilterExpression={"tag": {"$exists": True}})
    await things.insert_many(
        [
            {"_id": f"thing {n}", "n": n, "name": "ü", "at": utc_now(), "of": {"b": b"\x00", "f": 0.1}}
            for n in range(500)
        ]
    )
    await client[names[0]].create_collection("empty", validator={"n": {"$type": "int"}})
    await client[names[0]]["ids"].insert_one({"_id": ObjectId(), "none": None, "list": [1, 2**40, "x"]})
    blobs = BlobStore(client[names[1]])
    await blobs.prepare()

    async def pieces() -> AsyncIterator[bytes]:
        yield CONTENT

    return (await blobs.put(pieces(), filename="content")).id


async def everything(client: mongo.Client, names: list[str]) -> dict[str, Any]:
    """The raw documents, options and indexes of each collection."""
    found: dict[str, Any] = {}
    for name in names:
        for one in await (await client[name].list_collections()).to_list():
            collection = client[name][one["name"]]
            batches: Any = collection.find_raw_batches({}, sort=[("_id", ASCENDING)])
            raw = b"".join([batch async for batch in batches])
            indexes = sorted(repr(index) for index in await (await collection.list_indexes()).to_list())
            found[f"{name}.{one['name']}"] = (raw, one["options"], indexes)
    return found


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def backed_up(client: mongo.Client, folder: Path, names: list[str]) -> Manifest:
    return await dump(client, folder, databases=names, say=silent)


async def test_what_is_restored_is_what_was_there(
    client: mongo.Client, names: list[str], tmp_path: Path
) -> None:
    before = await everything(client, names)
    assert len(before) == 6
    written = await backed_up(client, tmp_path / "backup", names)
    assert written == verified(tmp_path / "backup") and written.blobs_at_one_moment
    assert (written.documents, written.databases) == (500 + 1 + 1 + 3, names)
    for name in names:
        await client.drop_database(name)
    assert await restore(client, tmp_path / "backup", replace=False, say=silent) == written
    assert await everything(client, names) == before
    [blob] = await client[names[1]]["fs.files"].find().to_list()
    assert b"".join([piece async for piece in BlobStore(client[names[1]]).read(blob["_id"])]) == CONTENT


async def test_the_files_are_as_mongodump_writes_them(
    client: mongo.Client, names: list[str], tmp_path: Path
) -> None:
    await backed_up(client, tmp_path / "backup", names)
    folder = tmp_path / "backup" / names[0]
    assert sorted(path.name for path in folder.iterdir()) == [
        f"{name}.{kind}" for name in ("empty", "ids", "things") for kind in ("bson", "metadata.json")
    ]
    assert len(decode_all((folder / "things.bson").read_bytes())) == 500
    described = json.loads((folder / "things.metadata.json").read_text())
    assert described["indexes"][1] == {
        "v": {"$numberInt": "2"},
        "key": {"name": {"$numberInt": "1"}, "n": {"$numberInt": "-1"}},
        "name": "name_1_n_-1",
        "unique": True,
    }
    assert described["collectionName"] == "things" and described["type"] == "collection"
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o700


async def test_a_backup_is_of_one_moment(
    client: mongo.Client, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written while it runs is in none of it, however late a collection's turn comes."""
    read = AsyncCollection.find_raw_batches
    wrote = []

    def after_a_write(self: Any, *arguments: Any, **named: Any) -> Any:
        async def batches() -> AsyncIterator[Any]:
            wrote.append(await client[names[0]]["things"].insert_one({"name": "late", "n": len(wrote)}))
            await client[names[1]]["fs.files"].insert_one({"_id": f"late {len(wrote)}"})
            async for batch in read(self, *arguments, **named):
                yield batch

        return batches()

    monkeypatch.setattr(AsyncCollection, "find_raw_batches", after_a_write)
    written = await backed_up(client, tmp_path / "backup", names)
    assert len(wrote) == 6 and written.documents == 505


async def test_blobs_that_outlast_the_moment_are_read_as_they_are(
    client: mongo.Client, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = AsyncCollection.find_raw_batches

    def too_late(self: Any, *arguments: Any, **named: Any) -> Any:
        async def batches() -> AsyncIterator[Any]:
            if self.name == late and named["session"] is not None:
                raise OperationFailure(
                    "Read timestamp is older than the oldest available timestamp", code=239
                )
            async for batch in read(self, *arguments, **named):
                yield batch

        return batches()

    monkeypatch.setattr(AsyncCollection, "find_raw_batches", too_late)
    late = "fs.chunks"
    written = await backed_up(client, tmp_path / "backup", names)
    assert not written.blobs_at_one_moment and written == verified(tmp_path / "backup")
    assert written.documents == 505
    late = "things"
    with pytest.raises(CommandFailed, match="minSnapshotHistoryWindowInSeconds"):
        await backed_up(client, tmp_path / "another", names)
    assert names_in(tmp_path) == ["backup"], "what broke off leaves nothing"


async def test_data_is_replaced_only_when_told(
    client: mongo.Client, names: list[str], tmp_path: Path
) -> None:
    before = await everything(client, names)
    await backed_up(client, tmp_path / "backup", names)
    await client[names[0]]["things"].delete_one({"n": 3})
    await client[names[0]]["new"].insert_one({"_id": 1})
    changed = await everything(client, names)
    with pytest.raises(CommandFailed, match="--replace"):
        await restore(client, tmp_path / "backup", replace=False, say=silent)
    assert await everything(client, names) == changed
    await restore(client, tmp_path / "backup", replace=True, say=silent)
    assert await everything(client, names) == before


async def test_restored_jobs_are_out_of_reach_for_runs_that_began_after_the_backup(
    client: mongo.Client, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "JOBS", (names[0], "jobs"))
    jobs = client[names[0]]["jobs"]
    await jobs.insert_many([{"_id": "job_1", "fence": 3}, {"_id": "job_2"}])
    await backed_up(client, tmp_path / "backup", names)
    await jobs.update_one({"_id": "job_1"}, {"$set": {"fence": 7}})
    await restore(client, tmp_path / "backup", replace=True, say=silent)
    assert await jobs.find({}, sort=[("_id", ASCENDING)]).to_list() == [
        {"_id": "job_1", "fence": 3 + restoring.FENCES_AHEAD},
        {"_id": "job_2"},
    ]


@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "metadata", "unfinished", "outside"])
async def test_a_backup_that_is_not_whole_changes_nothing(
    client: mongo.Client, names: list[str], tmp_path: Path, harm: str
) -> None:
    folder = tmp_path / "backup"
    await backed_up(client, folder, names)
    before = await everything(client, names)
    spoil(folder, names[0], harm)
    with pytest.raises(CommandFailed, match=r"backup|outside"):
        await restore(client, folder, replace=True, say=silent)
    assert await everything(client, names) == before


def spoil(folder: Path, database: str, harm: str) -> None:
    bson, manifest = folder / database / "things.bson", folder / "manifest.json"
    match harm:
        case "flip":
            data = bytearray(bson.read_bytes())
            data[-20] ^= 1
            bson.write_bytes(data)
        case "cut":
            bson.write_bytes(bson.read_bytes()[:-1])
        case "remove":
            bson.unlink()
        case "metadata":
            (folder / database / "things.metadata.json").write_text("{}")
        case "unfinished":
            manifest.unlink()
        case "outside":
            manifest.write_text(manifest.read_text().replace('"things"', '"../../things"'))


async def test_what_cannot_be_backed_up_is_said(
    client: mongo.Client, names: list[str], tmp_path: Path
) -> None:
    with pytest.raises(CommandFailed, match="no database nowhere"):
        await backed_up(client, tmp_path / "backup", ["nowhere"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("keep me")
    with pytest.raises(CommandFailed, match="has something in it"):
        await backed_up(client, tmp_path / "mine", names)
    await client[names[0]].command({"create": "seen", "viewOn": "things", "pipeline": []})
    with pytest.raises(CommandFailed, match=r"seen is no plain collection.*mongodump"):
        await backed_up(client, tmp_path / "backup", names)
    assert names_in(tmp_path) == ["mine"]
