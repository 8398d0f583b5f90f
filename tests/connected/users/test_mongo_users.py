"""What MongoDB itself refuses to each user, to who is none, and what provisioning makes and changes."""

import shutil
from pathlib import Path

import pymongo
import pytest
from pymongo.errors import OperationFailure

from tests.support.servers import MongoServer, settings_of
from tunedeck_chassis import mongo, mongo_users, replica_set, secrets
from tunedeck_chassis.blobs import BLOBS_DATABASE
from tunedeck_chassis.misprovisioned import Misprovisioned
from tunedeck_chassis.mongo_users import MONGO_USERS, provision_users
from tunedeck_cli import ports
from tunedeck_cli.dump import dump
from tunedeck_cli.restore import restore
from tunedeck_contracts.channels import SERVICES
from tunedeck_gateway import keys

pytestmark = pytest.mark.connected

UNAUTHORIZED = 13
DATABASES = {f"tunedeck_{service}" for service in SERVICES} | {BLOBS_DATABASE, "admin", "local", "config"}


@pytest.fixture(scope="module")
def provisioned(guarded_mongo: MongoServer, folder: Path) -> MongoServer:
    """With its users; the first is made from the server's own machine."""
    settings = settings_of("provision", folder, mongo_url=guarded_mongo.url)
    changes = replica_set.prepare(settings)
    assert [change.split(" on ")[0] for change in changes] == [
        "replica set tunedeck initiated",
        "MongoDB user provision made",
    ]
    others = [user for user in MONGO_USERS if user != mongo_users.PROVISION]
    assert provision_users(settings, folder) == [f"MongoDB user {user} made" for user in others]
    return guarded_mongo


def client_of(user: str, server: MongoServer, folder: Path) -> pymongo.MongoClient[mongo.Document]:
    settings = settings_of(user, folder, mongo_url=server.url)
    return pymongo.MongoClient(server.url, **mongo.login(settings))


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_its_own_database_and_the_blobs(
    service: str, provisioned: MongoServer, folder: Path
) -> None:
    own = {database for _, database in MONGO_USERS[service]}
    assert own <= {f"tunedeck_{service}", BLOBS_DATABASE}
    with client_of(service, provisioned, folder) as client:
        for database in own:
            rows = client[database]["rows"]
            rows.create_index("number")
            rows.insert_one({"number": 1})
            assert rows.find_one({"number": 1}) is not None
        for database in DATABASES - own:
            with pytest.raises(OperationFailure) as reading:
                client[database]["rows"].find_one()
            with pytest.raises(OperationFailure) as writing:
                client[database]["rows"].insert_one({})
            assert (reading.value.code, writing.value.code) == (UNAUTHORIZED, UNAUTHORIZED), database
        for command in ("shutdown", "usersInfo", "replSetGetStatus", "getLog"):
            with pytest.raises(OperationFailure) as refused:
                client.admin.command(command, 1)
            assert refused.value.code == UNAUTHORIZED, command


def test_who_provisions_reads_no_data(provisioned: MongoServer, folder: Path) -> None:
    with client_of("provision", provisioned, folder) as client:
        for database in DATABASES - {"admin", "local", "config"}:
            with pytest.raises(OperationFailure) as refused:
                client[database]["rows"].find_one()
            assert refused.value.code == UNAUTHORIZED


async def test_who_backs_up_can_do_so_and_restore(
    provisioned: MongoServer, folder: Path, tmp_path: Path
) -> None:
    with client_of("jobs", provisioned, folder) as client:
        kept = client["tunedeck_jobs"]["kept"]
        kept.create_index("number")
        kept.insert_one({"_id": 1, "number": 1})
        settings = settings_of("backup", folder, mongo_url=provisioned.url)
        async with mongo.connect(settings) as as_backup:
            databases = ["tunedeck_jobs", BLOBS_DATABASE]
            written = await dump(as_backup, tmp_path / "backup", databases=databases, say=str)
            kept.insert_one({"_id": 2})
            assert await restore(as_backup, tmp_path / "backup", replace=True, say=str) == written
        assert list(kept.find()) == [{"_id": 1, "number": 1}]
        assert "number_1" in kept.index_information()


def test_who_is_no_user_can_do_nothing(provisioned: MongoServer, folder: Path) -> None:
    with pymongo.MongoClient(provisioned.url) as client:
        for database in DATABASES:
            with pytest.raises(OperationFailure) as refused:
                client[database]["rows"].find_one()
            assert refused.value.code == UNAUTHORIZED
        with pytest.raises(OperationFailure):
            client.admin.command("createUser", "me", pwd="me", roles=["root"])
    with (
        pymongo.MongoClient(provisioned.url, username="jobs", password="wrong") as wrong,
        pytest.raises(OperationFailure, match="Authentication failed"),
    ):
        wrong.admin.command("ping")


async def test_a_service_with_a_wrong_password_says_so(
    provisioned: MongoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo, "PROBLEM_SECONDS", 20.0)
    secrets.create(tmp_path)
    async with mongo.connect(settings_of("jobs", tmp_path, mongo_url=provisioned.url)) as client:
        assert await mongo.problem(client) == "MongoDB refuses this service: Authentication failed."


def test_the_keys_command_with_a_wrong_password_says_what_to_set(
    provisioned: MongoServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    secrets.create(tmp_path)
    monkeypatch.setenv("TUNEDECK_MONGO_URL", provisioned.url)
    monkeypatch.setenv("TUNEDECK_MONGO_USER", "gateway")
    monkeypatch.setenv("TUNEDECK_SECRETS_DIR", str(tmp_path / "gateway"))
    assert keys.main(["list"]) == 1
    assert "refuses it: Authentication failed. Set TUNEDECK_MONGO_USER=gateway" in capsys.readouterr().err


def test_a_second_time_changes_nothing(provisioned: MongoServer, folder: Path) -> None:
    settings = settings_of("provision", folder, mongo_url=provisioned.url)
    assert replica_set.prepare(settings) == []
    assert provision_users(settings, folder) == []


def test_a_new_password_and_lost_roles_are_set_again(
    provisioned: MongoServer, folder: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "secrets"
    shutil.copytree(folder, changed)
    (changed / "jobs" / mongo_users.PASSWORD).unlink()
    settings = settings_of("provision", changed, mongo_url=provisioned.url)
    with pytest.raises(Misprovisioned, match=r"jobs/tunedeck_mongo_password is missing: run `tunedeck"):
        provision_users(settings, changed)
    secrets.create(changed)
    with client_of("provision", provisioned, folder) as client:
        client.admin.command("updateUser", "catalog", roles=[])
    assert provision_users(settings, changed) == [
        "roles of the MongoDB user catalog changed",
        "password of the MongoDB user jobs changed",
    ]
    with client_of("jobs", provisioned, changed) as client:
        assert client["tunedeck_jobs"]["rows"].count_documents({}) >= 0
    assert provision_users(settings_of("provision", folder, mongo_url=provisioned.url), folder) == [
        "password of the MongoDB user jobs changed"
    ]


def test_other_secrets_than_mongodb_has_are_named(provisioned: MongoServer, tmp_path: Path) -> None:
    secrets.create(tmp_path)
    settings = settings_of("provision", tmp_path, mongo_url=provisioned.url)
    with pytest.raises(Misprovisioned, match=r"does not take the password .* in .*provision/tunedeck_mongo"):
        replica_set.prepare(settings)


def test_a_replica_set_follows_its_node_on_this_machine_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = MongoServer(tmp_path, secrets=folder)
    server.start()
    try:
        replica_set.prepare(settings_of("provision", folder, mongo_url=server.url))
        server.stop()
        server.port = ports.free_port()
        server.start()
        settings = settings_of("provision", folder, mongo_url=server.url)
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(replica_set, "_is_loopback", lambda host: False)
            with pytest.raises(Misprovisioned, match="does not know it by this name"):
                replica_set.prepare(settings)
        assert replica_set.prepare(settings) == [f"replica set tunedeck moved to 127.0.0.1:{server.port}"]
    finally:
        server.stop()
