"""The users of MongoDB: each service its own database, and the blobs."""

from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from tunedeck_chassis.blobs import BLOBS_DATABASE
from tunedeck_chassis.misprovisioned import Misprovisioned
from tunedeck_chassis.mongo import Document, login
from tunedeck_chassis.settings import ServiceSettings

PROVISION = "provision"
BACKUP = "backup"
PASSWORD = "tunedeck_mongo_password"
"""The name of the file with a user's password, as the settings have it."""

_UNAUTHORIZED = 13
_AUTHENTICATION_FAILED = 18


MONGO_USERS: dict[str, frozenset[tuple[str, str]]] = {
    "gateway": frozenset({("readWrite", "tunedeck_gateway"), ("readWrite", BLOBS_DATABASE)}),
    "catalog": frozenset({("readWrite", "tunedeck_catalog"), ("readWrite", BLOBS_DATABASE)}),
    "jobs": frozenset({("readWrite", "tunedeck_jobs"), ("readWrite", BLOBS_DATABASE)}),
    "telemetry": frozenset({("readWrite", "tunedeck_telemetry"), ("readWrite", BLOBS_DATABASE)}),
    "trainer": frozenset({("readWrite", BLOBS_DATABASE)}),
    PROVISION: frozenset({("userAdminAnyDatabase", "admin"), ("clusterAdmin", "admin")}),
    # The fences of the jobs that it restores are raised, which the role `restore` does not allow.
    BACKUP: frozenset({("backup", "admin"), ("restore", "admin"), ("readWrite", "tunedeck_jobs")}),
}
"""What each may do: roles of MongoDB's own, each on a database.

Jobs keeps and removes the blobs of jobs, and any service's answer that is too large for the bus is a blob.
"""


def create_first_user(client: MongoClient[Document], settings: ServiceSettings) -> list[str]:
    """Make the user who makes the others, as nobody, which mongod allows on its own machine and once.

    Raises:
        Misprovisioned: mongod has users, so that the password is a wrong one, or is on another machine.
    """
    user, password = settings.mongo_user, settings.mongo_password
    assert user is not None and password is not None
    try:
        _write(client, "createUser", user, password.get_secret_value())
    except OperationFailure as error:
        if error.code != _UNAUTHORIZED:
            raise
        raise Misprovisioned(
            f"MongoDB does not take the password of its user {user!r} in {settings.secrets_dir / PASSWORD}: "
            "give MongoDB and Tunedeck the same folder of `tunedeck secrets`. Where MongoDB has no user yet, "
            "the first can be made from its own machine only; its image makes it by "
            "MONGO_INITDB_ROOT_USERNAME and MONGO_INITDB_ROOT_PASSWORD_FILE."
        ) from error
    return [f"MongoDB user {user} made"]


def provision_users(settings: ServiceSettings, folder: Path) -> list[str]:
    """Give MongoDB the users whose passwords are below the folder; say what was changed.

    Raises:
        Misprovisioned: a password is missing.
    """
    passwords = {user: _password(folder / user / PASSWORD) for user in MONGO_USERS}
    with _connect(settings) as client:
        known = (client.admin.command("usersInfo", 1))["users"]
        roles = {one["user"]: {(role["role"], role["db"]) for role in one["roles"]} for one in known}
        changes: list[str] = []
        for user, wanted in MONGO_USERS.items():
            if user not in roles:
                _write(client, "createUser", user, passwords[user])
                changes.append(f"MongoDB user {user} made")
                continue
            if roles[user] != wanted:
                _write(client, "updateUser", user)
                changes.append(f"roles of the MongoDB user {user} changed")
            if not _takes(settings, user, passwords[user]):
                _write(client, "updateUser", user, passwords[user])
                changes.append(f"password of the MongoDB user {user} changed")
    return changes


def _connect(settings: ServiceSettings) -> MongoClient[Document]:
    return MongoClient(settings.mongo_url, **login(settings))


def _write(client: MongoClient[Document], command: str, user: str, password: str | None = None) -> None:
    options: dict[str, Any] = {
        "roles": [{"role": role, "db": database} for role, database in sorted(MONGO_USERS[user])]
    }
    if password is not None:
        options |= {"pwd": password, "mechanisms": ["SCRAM-SHA-256"]}
    client.admin.command(command, user, **options)


def _takes(settings: ServiceSettings, user: str, password: str) -> bool:
    as_user = settings.model_copy(update={"mongo_user": user, "mongo_password": SecretStr(password)})
    try:
        with _connect(as_user) as client:
            client.admin.command("ping")
    except OperationFailure as error:
        if error.code != _AUTHENTICATION_FAILED:
            raise
        return False
    return True


def _password(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        raise Misprovisioned(
            f"{path} is missing: run `tunedeck secrets {path.parent.parent}`, which makes what is not there."
        ) from None
