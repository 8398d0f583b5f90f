"""The operator's commands find the running stack and log in as its users, as one types them."""

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from tunedeck_chassis import mongo
from tunedeck_chassis.blobs import BLOBS_DATABASE
from tunedeck_chassis.connection import connect
from tunedeck_cli import ports
from tunedeck_cli.home import Home
from tunedeck_cli.stack import Stack
from tunedeck_contracts import subjects
from tunedeck_contracts.message import utc_now
from tunedeck_contracts.streams import TELEMETRY_JOBS
from tunedeck_contracts.telemetry import DeadLetter

SUBJECT = subjects.job_event("job_1")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Both servers with their users, and no service."""
    home = Home(tmp_path_factory.mktemp("o") / "home")
    one = Stack(home, wanted=ports.ANY, with_services=False)
    one.start()
    yield one
    one.stop()


def tunedeck(home: Path, *arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    """One command beside the stack of a home."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TUNEDECK_")}
    environment = {**inherited, "TUNEDECK_HOME": str(home), "COLUMNS": "200", **more}
    line = [sys.executable, "-m", "tunedeck_cli.main", *map(str, arguments)]
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300, check=False)


def as_user(stack: Stack, user: str, do: Callable[[Client], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        client = await connect(stack.settings(user), user)
        try:
            return await do(client)
        finally:
            await client.close()

    return asyncio.run(run())


def park(stack: Stack, body: bytes) -> int:
    """A letter as telemetry would have left it; its number."""
    letter = DeadLetter(
        service="telemetry",
        subject=SUBJECT,
        reason="[bold]a defect[/bold]",
        deliveries=6,
        headers={"ce-id": "1"},
        data=base64.b64encode(body).decode(),
        size=len(body),
        parked_at=utc_now(),
    )

    async def publish(client: Client) -> int:
        subject = subjects.dead_letter("telemetry")
        return int((await client.jetstream().publish(subject, letter.to_json())).seq)

    return int(as_user(stack, "telemetry", publish))


async def take_all(client: Client) -> list[bytes]:
    """What the services through their durable would have taken."""
    consumer = await client.jetstream().pull_subscribe_bind(TELEMETRY_JOBS.name, TELEMETRY_JOBS.stream)
    found = await consumer.fetch(10, timeout=5)
    for message in found:
        await message.ack_sync(timeout=20)
    return [message.data for message in found]


def test_letters_are_shown_sent_again_and_gone_when_they_are_dealt_with(stack: Stack) -> None:
    home = stack.home.root
    first, second = park(stack, b"one"), park(stack, b"two")
    shown = tunedeck(home, "dlq", "list")
    assert shown.returncode == 0 and shown.stdout.count(SUBJECT) == 2
    assert "[bold]a defect[/bold]" in shown.stdout
    listed = json.loads(tunedeck(home, "dlq", "list", "--json").stdout)
    assert [(one["letter"], base64.b64decode(one["data"])) for one in listed] == [
        (first, b"one"),
        (second, b"two"),
    ]

    waiting = tunedeck(home, "dlq", "replay", str(first), "--seconds", "0", "--json")
    assert waiting.returncode == 1, waiting.stderr
    assert [(one["letter"], one["outcome"]) for one in json.loads(waiting.stdout)] == [(first, "undecided")]
    assert as_user(stack, "telemetry", take_all) == [b"one"]
    done = tunedeck(home, "dlq", "replay", str(first))
    assert done.returncode == 0 and "handled" in done.stdout, done
    assert [one["letter"] for one in json.loads(tunedeck(home, "dlq", "list", "--json").stdout)] == [second]


def test_what_cannot_be_replayed_is_said(stack: Stack, tmp_path: Path) -> None:
    unknown = tunedeck(stack.home.root, "dlq", "replay", "4711")
    assert unknown.returncode == 1 and "There is no letter 4711; nothing was sent." in unknown.stderr
    away = tunedeck(tmp_path, "dlq", "list", "--json")
    assert (away.returncode, away.stdout) == (1, "") and "TUNEDECK_NATS_URL" in away.stderr


@pytest.fixture(scope="module")
def backup(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the command says of a backup of the running stack, and its folder."""

    async def fill() -> None:
        for user, database in (("jobs", "tunedeck_jobs"), ("catalog", BLOBS_DATABASE)):
            async with mongo.connect(stack.settings(user)) as client:
                await client[database]["some"].insert_many([{"_id": n} for n in range(300)])
                await client[database]["some"].create_index("n")

    asyncio.run(fill())
    folder = tmp_path_factory.mktemp("backups") / "monday"
    done = tunedeck(stack.home.root, "backup", folder, "--json")
    assert done.returncode == 0, done.stderr
    return {"folder": folder, **json.loads(done.stdout)}


def content(manifest: dict[str, Any]) -> dict[tuple[str, str], tuple[int, str]]:
    return {
        (one["database"], one["collection"]): (one["documents"], one["sha256"])
        for one in manifest["collections"]
    }


def test_a_backup_is_restored_into_a_new_home_and_its_users_are_let_in(
    backup: dict[str, Any], tmp_path: Path
) -> None:
    assert content(backup)[("tunedeck_jobs", "some")][0] == 300
    done = tunedeck(tmp_path / "h", "restore", backup["folder"])
    assert done.returncode == 0, done.stderr
    assert "Restored from" in done.stderr
    again = tunedeck(tmp_path / "h", "backup", tmp_path / "again", "--json")
    assert content(json.loads(again.stdout)) == content(backup)


def test_a_stack_that_was_killed_is_started_to_be_backed_up(tmp_path: Path) -> None:
    program = (
        "import os, pathlib; from tunedeck_cli import ports; from tunedeck_cli.home import Home\n"
        "from tunedeck_cli.stack import Stack\n"
        f"stack = Stack(Home(pathlib.Path({str(tmp_path / 'h')!r})), wanted=ports.ANY, with_services=False)\n"
        "stack.start(); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", program], check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL and (tmp_path / "h" / "run" / "addresses.json").exists()
    done = tunedeck(tmp_path / "h", "backup", tmp_path / "backup")
    assert "Starting nats-server and mongod" in done.stderr, "it asks nobody who is gone"
    assert "there is nothing to back up" in done.stderr


def test_a_disk_that_takes_no_backup_is_said(stack: Stack, backup: dict[str, Any]) -> None:
    done = tunedeck(stack.home.root, "backup", "/proc/monday")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "The backup's files cannot be written or read" in done.stderr


def test_nothing_is_restored_beside_running_services(stack: Stack, backup: dict[str, Any]) -> None:
    done = tunedeck(stack.home.root, "restore", backup["folder"], "--replace")
    assert done.returncode == 1 and f"A stack already runs in {stack.home.root}" in done.stderr


def test_a_database_that_is_away_is_said_without_its_password(stack: Stack, tmp_path: Path) -> None:
    url = "mongodb://me:hunter2@127.0.0.1:1/"
    done = tunedeck(stack.home.root, "backup", tmp_path / "b", TUNEDECK_MONGO_URL=url)
    assert done.returncode == 1 and "127.0.0.1:1" in done.stderr and "hunter2" not in done.stderr
    assert not (tmp_path / "b").exists()
