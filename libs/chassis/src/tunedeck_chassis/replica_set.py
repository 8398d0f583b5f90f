"""Makes a mongod the primary of a replica set of one, and gives it its first user."""

import ipaddress
import time

from pymongo import MongoClient
from pymongo.errors import ConfigurationError, InvalidURI, OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri

from tunedeck_chassis.misprovisioned import Misprovisioned
from tunedeck_chassis.mongo import Document, login
from tunedeck_chassis.mongo_users import create_first_user
from tunedeck_chassis.settings import ServiceSettings

WRITABLE_SECONDS = 60.0
_AUTHENTICATION_FAILED = 18
_ALREADY_INITIALIZED = 23


def prepare(settings: ServiceSettings, seconds: float = WRITABLE_SECONDS) -> list[str]:
    """Wait until MongoDB can be written to; initiate its replica set where it has none. Return the changes.

    An address of several nodes is somebody's own replica set, and left as it is.

    Raises:
        Misprovisioned: it took longer than `seconds`, MongoDB does not know the user, or its address is none.
    """
    try:
        parsed = parse_uri(settings.mongo_url)
    except (ConfigurationError, InvalidURI) as error:
        raise Misprovisioned(f"TUNEDECK_MONGO_URL cannot be used: {error}") from error
    if len(parsed["nodelist"]) > 1:
        return []
    host, port = parsed["nodelist"][0]
    name = str(parsed["options"].get("replicaSet", "tunedeck"))
    return _ReplicaSet(settings, host, port, name).prepare(seconds)


class _ReplicaSet:
    """One node that is to be a set by itself."""

    def __init__(self, settings: ServiceSettings, host: str, port: int, name: str) -> None:
        self._settings = settings
        self._host = host
        self._port = port
        self._name = name
        self._changes: list[str] = []

    def prepare(self, seconds: float) -> list[str]:
        deadline = time.monotonic() + seconds
        last: object = "no answer"
        while time.monotonic() < deadline:
            try:
                if self._is_ready():
                    return self._changes
                last = "it is not primary yet"
            except PyMongoError as error:
                last = error
            time.sleep(0.1)
        raise Misprovisioned(
            f"MongoDB at {self._member} did not become writable within {seconds:.0f} s: {last}."
        )

    @property
    def _member(self) -> str:
        return f"{self._host}:{self._port}"

    def _is_ready(self) -> bool:
        try:
            with self._client(self._settings) as client:
                return self._is_writable(client)
        except OperationFailure as error:
            if error.code != _AUTHENTICATION_FAILED:
                raise
        # While there is no user, mongod lets who comes from its own machine make the first.
        with self._client(self._settings.model_copy(update={"mongo_user": None})) as client:
            if self._is_writable(client):
                self._changes += create_first_user(client, self._settings)
        return False

    def _client(self, settings: ServiceSettings) -> MongoClient[Document]:
        return MongoClient(
            self._host, self._port, directConnection=True, serverSelectionTimeoutMS=1000, **login(settings)
        )

    def _is_writable(self, client: MongoClient[Document]) -> bool:
        hello = client.admin.command("hello")
        if "setName" not in hello:
            self._configure(client)
        return bool(hello["isWritablePrimary"])

    def _configure(self, client: MongoClient[Document]) -> None:
        """Initiate the set, or follow a node whose port is another than that of its last run."""
        config = {"_id": self._name, "version": 1, "members": [{"_id": 0, "host": self._member}]}
        try:
            client.admin.command("replSetInitiate", config)
            self._changes.append(f"replica set {self._name} initiated on {self._member}")
        except OperationFailure as error:
            if error.code != _ALREADY_INITIALIZED:
                raise
            if not _is_loopback(self._host):
                raise Misprovisioned(
                    f"The replica set of MongoDB at {self._member} does not know it by this name: "
                    "set the name in TUNEDECK_MONGO_URL that `rs.conf()` shows, or change it there."
                ) from error
            client.admin.command("replSetReconfig", {**config, "protocolVersion": 1}, force=True)
            self._changes.append(f"replica set {self._name} moved to {self._member}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
