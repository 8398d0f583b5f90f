"""The installation that a command speaks to: the one that variables name, else the stack that runs here."""

import os
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsError

from tunedeck_chassis.settings import ServiceSettings
from tunedeck_cli.client import Client
from tunedeck_cli.errors import CommandFailed
from tunedeck_cli.home import Home
from tunedeck_cli.ports import LOOPBACK, Ports

API_URL = "TUNEDECK_API_URL"
API_KEY = "TUNEDECK_API_KEY"
MONGO_URL = "TUNEDECK_MONGO_URL"
NATS_URL = "TUNEDECK_NATS_URL"


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
    running = {} if variable in os.environ else Home.from_environment().running(user)
    given: dict[str, Any] = {name.removeprefix("TUNEDECK_").lower(): value for name, value in running.items()}
    try:
        return ServiceSettings(**given)
    except (SettingsError, ValidationError) as error:
        raise CommandFailed(f"The settings cannot be used: {error}") from error


def place(url: str) -> str:
    """The address without a password."""
    return url.rpartition("@")[2].partition("://")[2] or url.rpartition("@")[2]
