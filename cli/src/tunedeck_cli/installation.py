"""The installation that a command speaks to: the one that variables name, else the stack that runs here."""

import os
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import SettingsError

from tunedeck_chassis.provisioning import ProvisionSettings
from tunedeck_chassis.settings import ServiceSettings
from tunedeck_cli.client import Client
from tunedeck_cli.errors import CommandFailed
from tunedeck_cli.home import Home, own_environment
from tunedeck_cli.ports import LOOPBACK, Ports
from tunedeck_contracts.permissions import PROVISION

API_URL = "TUNEDECK_API_URL"
API_KEY = "TUNEDECK_API_KEY"
MONGO_URL = "TUNEDECK_MONGO_URL"
NATS_URL = "TUNEDECK_NATS_URL"

Settings = TypeVar("Settings", bound=ServiceSettings)


def api() -> Client:
    """A client of the main API, which has the live stream too, with the key of TUNEDECK_API_KEY."""
    running = Home.from_environment().running("gateway")
    url = os.environ.get(API_URL) or running.get(API_URL) or f"http://{LOOPBACK}:{Ports().api}"
    return Client(url, url, key=os.environ.get(API_KEY))


def settings(variable: str, user: str) -> ServiceSettings:
    """How to reach the server that `variable` has the address of.

    Where the variable is set, all is as the environment says; else it is the running stack's, as its `user`.

    Raises:
        CommandFailed: what is set cannot be used.
    """
    home = Home.from_environment()
    running = {} if variable in os.environ else home.running(user)
    return _read(ServiceSettings, _fields(home, running, user))


def provisioning() -> ProvisionSettings:
    """How to prepare the servers that the environment names, else those of the running stack.

    Raises:
        CommandFailed: what is set cannot be used.
    """
    home = Home.from_environment()
    running = {} if {NATS_URL, MONGO_URL} & os.environ.keys() else home.running(PROVISION)
    more = {"users_dir": home.secrets} if running else {}
    return _read(ProvisionSettings, {**_fields(home, running, PROVISION), **more})


def environment(variable: str, user: str) -> dict[str, str]:
    """What a command in a process of its own gets, so that it finds the same as by `settings`."""
    running = {} if variable in os.environ else Home.from_environment().running(user)
    return {**own_environment(), **running} if running else dict(os.environ)


def place(url: str) -> str:
    """The address without a password."""
    return url.rpartition("@")[2].partition("://")[2] or url.rpartition("@")[2]


def _fields(home: Home, running: Mapping[str, str], user: str) -> dict[str, Any]:
    if not running:
        return {}
    return {"nats_url": running[NATS_URL], "mongo_url": running[MONGO_URL], **home.credentials(user)}


def _read(kind: type[Settings], given: dict[str, Any]) -> Settings:
    try:
        return kind(**given)
    except (SettingsError, ValidationError) as error:
        raise CommandFailed(f"The settings cannot be used: {error}") from error
