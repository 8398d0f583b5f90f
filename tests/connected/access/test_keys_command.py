"""`tunedeck keys`: the key alone on standard output, and the running stack's database found by itself."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tunedeck_chassis import mongo
from tunedeck_cli.home import Home
from tunedeck_contracts.errors import Unauthorized
from tunedeck_contracts.message import utc_now
from tunedeck_gateway.access.keys import Keys, Scope
from tunedeck_gateway.access.repository import KeyRepository
from tunedeck_gateway.keys import lifetime
from tunedeck_gateway.settings import GatewaySettings

DATABASE = "gateway_of_the_keys_command"
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(mongo_url: str, tmp_path: Path) -> Command:
    """Runs `tunedeck keys` beside a stack whose home is here; `TUNEDECK_MONGO_URL` is not set."""
    home = Home(tmp_path / "home")
    home.create()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TUNEDECK_")}
    environment = {**inherited, "TUNEDECK_HOME": str(home.root), "TUNEDECK_GATEWAY_DATABASE": DATABASE}

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "tunedeck_cli.main", "keys", *arguments]
        with home.locked(), home.telling({"TUNEDECK_MONGO_URL": mongo_url}):
            return subprocess.run(
                line, env={**environment, **more}, capture_output=True, text=True, timeout=60, check=False
            )

    return run


async def test_a_key_is_made_listed_used_and_revoked(command: Command, mongo_url: str) -> None:
    made = command("create", "--name", "CI of the shop", "--scope", "write", "--expires", "30d")
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    assert made.stdout == f"{token}\n" and token not in made.stderr
    client = mongo.connect(GatewaySettings(mongo_url=mongo_url))
    keys = Keys(KeyRepository(client, DATABASE), cache_seconds=0)
    key = await keys.authenticate(f"Bearer {token}")
    assert (key.name, key.scope) == ("CI of the shop", Scope.WRITE)
    assert key.expires_at is not None
    assert timedelta(days=29) < key.expires_at - utc_now() <= timedelta(days=30)
    listed = command("list")
    assert key.id in listed.stdout and token.split("_", 2)[2] not in listed.stdout
    [shown] = json.loads(command("list", "--json").stdout)["keys"]
    assert (shown["id"], shown["scope"], "key" in shown) == (key.id, "write", False)
    again = json.loads(command("create", "--name", "again", "--json").stdout)
    assert (await keys.authenticate(f"Bearer {again['key']}")).id == again["id"]
    ended = command("revoke", key.id)
    assert (ended.returncode, ended.stdout) == (0, "") and key.id in ended.stderr
    with pytest.raises(Unauthorized, match="revoked"):
        await keys.authenticate(f"Bearer {token}")
    await client.drop_database(DATABASE)
    await client.close()


def test_what_cannot_be_done_is_said_in_one_sentence(command: Command) -> None:
    unknown = command("revoke", "000000000000")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr.strip() == "There is no API key '000000000000'; `tunedeck keys list` shows them."
    long = command("create", "--name", "x", "--expires", "11y")
    assert long.returncode == 2 and "'11y' is no duration: write 90m, 12h, 30d or 2w" in long.stderr


def test_the_address_that_is_set_wins_and_its_password_is_not_shown(command: Command) -> None:
    away = "mongodb://me:hunter2@127.0.0.1:1/?replicaSet=tunedeck"
    answer = command("list", TUNEDECK_MONGO_URL=away)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "127.0.0.1:1" in answer.stderr and "hunter2" not in answer.stderr


@pytest.mark.parametrize("text", ["0d", "d", "-1d", "1.5d", "30", "3y", "3651d", "9999999w", ""])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no duration|ten years"):
        lifetime(text)


def test_durations() -> None:
    assert [lifetime(text) for text in ("90m", "12h", "30d", "2w")] == [
        timedelta(minutes=90),
        timedelta(hours=12),
        timedelta(days=30),
        timedelta(weeks=2),
    ]
