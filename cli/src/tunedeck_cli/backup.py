"""`tunedeck backup` and `tunedeck restore`: all that MongoDB has, blobs too, as a folder."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import pymongo
import typer
from pymongo.errors import ConfigurationError, InvalidURI, PyMongoError

from tunedeck_chassis import mongo
from tunedeck_chassis.mongo_users import BACKUP
from tunedeck_chassis.settings import ServiceSettings
from tunedeck_cli import installation
from tunedeck_cli.dump import dump
from tunedeck_cli.errors import CommandFailed
from tunedeck_cli.home import Home
from tunedeck_cli.manifest import Manifest
from tunedeck_cli.output import AsJson, note, print_json
from tunedeck_cli.restore import restore as load
from tunedeck_cli.stack import Stack

_ANSWER_SECONDS = 5.0
_OPERATION_SECONDS = 600.0
"""For an index of a large collection."""


def backup(
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    database: Annotated[list[str] | None, typer.Option(help="Only this one; may be repeated.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write all databases into a folder, as they are at one moment, in mongodump's layout.

    It asks MongoDB at TUNEDECK_MONGO_URL; without that, the stack of TUNEDECK_HOME, whether it runs or not.
    As JSON it prints the manifest.
    """
    with _database(while_running=True) as settings:
        manifest = _with_client(
            settings, lambda client: dump(client, folder, databases=database or (), say=note)
        )
    _say(manifest, as_json, f"Backed up into {folder}")


def restore(
    folder: Annotated[Path, typer.Argument(help="A folder of `tunedeck backup`.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Remove what the backup's databases have now.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the databases of a backup to what they were, once all its files are known to be whole.

    No service may run meanwhile. It restores into MongoDB at TUNEDECK_MONGO_URL; without that, into the stack
    of TUNEDECK_HOME, which must not run. As JSON it prints the manifest.
    """
    with _database(while_running=False) as settings:
        manifest = _with_client(settings, lambda client: load(client, folder, replace=replace, say=note))
    _say(manifest, as_json, f"Restored from {folder}")


@contextmanager
def _database(*, while_running: bool) -> Iterator[ServiceSettings]:
    """How to reach MongoDB; that of a stack that does not run is started for as long as it takes.

    CommandFailed names the stack that runs where none may.
    """
    home = Home.from_environment()
    if installation.MONGO_URL in os.environ or (while_running and home.running(BACKUP)):
        yield installation.settings(installation.MONGO_URL, BACKUP)
        return
    stack = Stack(home, say=note, with_services=False)
    stack.start()
    try:
        yield stack.settings(BACKUP)
    finally:
        stack.stop()


def _with_client(settings: ServiceSettings, do: Callable[[mongo.Client], Awaitable[Manifest]]) -> Manifest:
    async def run() -> Manifest:
        async with mongo.connect(settings, seconds=_OPERATION_SECONDS) as client:
            with pymongo.timeout(_ANSWER_SECONDS):
                await client.admin.command("ping")
            return await do(client)

    try:
        return asyncio.run(run())
    except (ConfigurationError, InvalidURI) as error:
        raise CommandFailed(f"{installation.MONGO_URL} cannot be used: {error}") from error
    except OSError as error:
        raise CommandFailed(
            f"The backup's files cannot be written or read: {error}. A backup that broke off has left "
            "nothing; a restoring that had begun is to be run again with --replace."
        ) from error
    except PyMongoError as error:
        raise CommandFailed(
            f"MongoDB at {installation.place(settings.mongo_url)} does not do it: {error}. See that it runs, "
            f"set {installation.MONGO_URL}, and where it has users TUNEDECK_MONGO_USER={BACKUP} and "
            "TUNEDECK_SECRETS_DIR. A backup that broke off has left nothing; a restoring has, and is to be "
            "run again with --replace."
        ) from error


def _say(manifest: Manifest, as_json: bool, done: str) -> None:
    if as_json:
        print_json(manifest.model_dump(mode="json"))
    else:
        note(f"{done}: {manifest.documents} documents, {manifest.bytes / 1e6:.1f} MB.")
