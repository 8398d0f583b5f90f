"""`python -m tunedeck_gateway.keys`: makes, lists and revokes API keys, where the gateway is installed.

It asks MongoDB itself, with the gateway's settings: the first key cannot be made with a key. The key alone
goes to standard output, so that `KEY=$(... create ...)` holds it and nothing else.
"""

import argparse
import asyncio
import re
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta

from pydantic import ValidationError
from pydantic_settings import SettingsError
from pymongo.errors import ConfigurationError, InvalidURI, OperationFailure, PyMongoError

from tunedeck_chassis import mongo
from tunedeck_contracts.errors import TunedeckError
from tunedeck_contracts.message import utc_now
from tunedeck_gateway.access.keys import ApiKey, Keys, Scope
from tunedeck_gateway.access.messages import CreatedKey, KeyList, shown
from tunedeck_gateway.access.repository import KeyRepository
from tunedeck_gateway.settings import GatewaySettings

LONGEST_NAME = 200
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LONGEST = timedelta(days=3650)


def lifetime(text: str) -> timedelta:
    """`30d`, `12h`, `90m` or `2w` as a duration; ValueError for anything else, and above ten years."""
    parts = re.fullmatch(r"([1-9][0-9]{0,6})([mhdw])", text)
    if parts is None:
        raise ValueError(f"{text!r} is no duration: write 90m, 12h, 30d or 2w")
    duration = timedelta(**{_UNITS[parts[2]]: int(parts[1])})
    if duration > _LONGEST:
        raise ValueError(f"{text!r} is longer than ten years; leave --expires out for a key without an end")
    return duration


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status. A failure is one sentence on standard error, and 1."""
    given = _parser().parse_args(arguments)
    try:
        asyncio.run(_run(given))
    except (SettingsError, ValidationError) as error:
        print(f"The settings cannot be used: {error}", file=sys.stderr)
    except TunedeckError as error:
        print(error.detail, file=sys.stderr)
    except (ConfigurationError, InvalidURI) as error:
        print(f"TUNEDECK_MONGO_URL cannot be used: {error}", file=sys.stderr)
    except OperationFailure as error:
        print(
            f"MongoDB at {_place(GatewaySettings().mongo_url)} refuses it: {mongo.refusal(error)} "
            "Set TUNEDECK_MONGO_USER=gateway, and TUNEDECK_SECRETS_DIR to the folder of its secrets.",
            file=sys.stderr,
        )
    except PyMongoError as error:
        print(
            f"MongoDB does not answer at {_place(GatewaySettings().mongo_url)} ({type(error).__name__}): "
            "start it, or set TUNEDECK_MONGO_URL.",
            file=sys.stderr,
        )
    else:
        return 0
    return 1


async def _run(given: argparse.Namespace) -> None:
    settings = GatewaySettings()
    async with mongo.connect(settings) as client:
        keys = Keys(KeyRepository(client, settings.gateway_database), cache_seconds=0)
        if given.command == "create":
            await _create(keys, given)
        elif given.command == "revoke":
            key = await keys.revoke(given.id)
            print(f"{_said(key)}: every gateway refuses it within 30 seconds.", file=sys.stderr)
        elif given.json:
            print(KeyList(keys=[shown(key) for key in await keys.all()]).to_json().decode())
        else:
            await _list(keys)


async def _create(keys: Keys, given: argparse.Namespace) -> None:
    expires_at = None if given.expires is None else utc_now() + given.expires
    key, token = await keys.create(given.name, Scope(given.scope), expires_at)
    if given.json:
        print(CreatedKey(**vars(shown(key)), key=token).to_json().decode())
        return
    until = "without an end" if key.expires_at is None else f"until {_minute(key.expires_at)}"
    print(f"{_said(key)}, {key.scope.value}, {until}. It is shown this once:", file=sys.stderr)
    print(token)


async def _list(keys: Keys) -> None:
    found = await keys.all()
    row = "{:<12}  {:<5}  {:<16}  {:<16}  {:<16}  {:<16}  {}"
    print(row.format("id", "scope", "created", "expires", "last used", "revoked", "name"))
    for key in found:
        moments = (key.created_at, key.expires_at, key.last_used_at, key.revoked_at)
        print(row.format(key.id, key.scope.value, *map(_minute, moments), key.name))


def _said(key: ApiKey) -> str:
    return f"Key {key.id} ({key.name})"


def _place(url: str) -> str:
    """The address without a password."""
    return url.rpartition("@")[2].removeprefix("mongodb://")


def _minute(moment: datetime | None) -> str:
    """In UTC, as `2026-01-31T23:59`."""
    return "-" if moment is None else moment.strftime("%Y-%m-%dT%H:%M")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tunedeck keys", description="API keys of the gateway; times are UTC."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="create|list|revoke")
    create = commands.add_parser("create", help="make a key, and print it this once on standard output")
    create.add_argument("--name", required=True, type=_name, help="whose key it is, or what for")
    create.add_argument(
        "--scope",
        choices=[scope.value for scope in Scope],
        default=Scope.READ.value,
        help="what it allows; each scope allows all before it (default: read)",
    )
    create.add_argument("--expires", type=_duration, metavar="30d", help="90m, 12h, 30d or 2w; else never")
    create.add_argument("--json", action="store_true", help="as POST /api/keys answers, for scripts")
    listed = commands.add_parser("list", help="show every key, without its secret")
    listed.add_argument("--json", action="store_true", help="as GET /api/keys answers, for scripts")
    commands.add_parser("revoke", help="end a key").add_argument("id", help="what follows ftk_ in the key")
    return parser


def _name(text: str) -> str:
    if not 1 <= len(text) <= LONGEST_NAME or not text.isprintable():
        raise argparse.ArgumentTypeError(f"a name has 1 to {LONGEST_NAME} printable characters")
    return text


def _duration(text: str) -> timedelta:
    try:
        return lifetime(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


if __name__ == "__main__":
    sys.exit(main())
