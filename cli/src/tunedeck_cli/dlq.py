"""`tunedeck dlq`: the messages that a service could not handle, and sending them again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import typer
from nats.errors import Error as NatsError

from tunedeck_chassis.connection import connect
from tunedeck_chassis.dead_letters import DeadLetters, Outcome, Parked, Replayed
from tunedeck_cli import installation
from tunedeck_cli.errors import CommandFailed
from tunedeck_cli.output import AsJson, console, note, plain, print_json, table
from tunedeck_contracts.cloudevents import REPLAY_OF
from tunedeck_contracts.permissions import OPERATOR

app = typer.Typer(
    no_args_is_help=True,
    help="Messages that a service could not handle, at the NATS server of TUNEDECK_NATS_URL.",
)


@app.command("list")
def list_letters(
    service: Annotated[str | None, typer.Option(help="Only what this service parked.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the parked messages, oldest first; as JSON, with their headers and their content in base64."""
    found = [one for one in asyncio.run(_all()) if service in (None, one.service)]
    if as_json:
        print_json([_as_json(one) for one in found])
        return
    shown = table("letter", "parked (UTC)", "by", "subject", "deliveries", "replay of", "reason")
    for one in found:
        shown.add_row(*(plain(cell) for cell in _cells(one)))
    if found:
        console.print(shown)
    else:
        note("No message is parked.")


@app.command()
def replay(
    letters: Annotated[list[int] | None, typer.Argument(help="Numbers of `tunedeck dlq list`.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    service: Annotated[str | None, typer.Option(help="With --all: only what this service parked.")] = None,
    seconds: Annotated[float, typer.Option(min=0, help="How long to see what becomes of them.")] = 10.0,
    as_json: AsJson = False,
) -> None:
    """Send parked messages again where they came from, and say what became of each.

    A letter goes once its message is dealt with: handled, or parked again as a new letter. The exit status is
    0 when all were handled, and 1 otherwise.
    """
    if bool(letters) == all_:
        raise typer.BadParameter("name letters, or say --all")
    done = asyncio.run(_replay(set(letters or ()), service, seconds))
    if as_json:
        print_json([_replayed_as_json(one) for one in done])
    elif done:
        shown = table("letter", "outcome", "said")
        for one in done:
            shown.add_row(*(plain(cell) for cell in (one.parked.sequence, one.outcome.value, one.said)))
        console.print(shown)
    else:
        note("No message is parked.")
    raise typer.Exit(0 if all(one.outcome is Outcome.HANDLED for one in done) else 1)


async def _all() -> list[Parked]:
    async with _dead_letters() as found:
        return [one async for one in found.all()]


async def _replay(wanted: set[int], service: str | None, seconds: float) -> list[Replayed]:
    async with _dead_letters() as found:
        letters = [one async for one in found.all()]
        if missing := wanted - {one.sequence for one in letters}:
            numbers = ", ".join(str(one) for one in sorted(missing))
            raise CommandFailed(f"There is no letter {numbers}; nothing was sent. See `tunedeck dlq list`.")
        chosen = [one for one in letters if not wanted or one.sequence in wanted]
        return await found.replay([one for one in chosen if service in (None, one.service)], seconds=seconds)


@asynccontextmanager
async def _dead_letters() -> AsyncIterator[DeadLetters]:
    settings = installation.settings(installation.NATS_URL, OPERATOR)
    try:
        client = await connect(settings, OPERATOR)
        try:
            yield DeadLetters(client)
        finally:
            await client.close()
    except (NatsError, OSError) as error:
        raise CommandFailed(
            f"NATS at {installation.place(settings.nats_url)} does not do it: {error!r}. See that it runs "
            f"and is provisioned, set {installation.NATS_URL}, and, where it has users, TUNEDECK_SECRETS_DIR "
            f"to the folder of {OPERATOR!r}."
        ) from error


def _cells(parked: Parked) -> list[object]:
    letter = parked.letter
    if letter is None:
        return [parked.sequence, "-", parked.service, "-", "-", "-", parked.problem]
    return [
        parked.sequence,
        f"{letter.parked_at:%Y-%m-%d %H:%M}",
        letter.service,
        letter.subject,
        letter.deliveries,
        letter.headers.get(REPLAY_OF, "-"),
        letter.reason,
    ]


def _as_json(parked: Parked) -> dict[str, Any]:
    found = {"letter": parked.sequence, "service": parked.service, "problem": parked.problem or None}
    return found if parked.letter is None else {**found, **parked.letter.model_dump(mode="json")}


def _replayed_as_json(done: Replayed) -> dict[str, Any]:
    return {
        "letter": done.parked.sequence,
        "outcome": done.outcome.value,
        "said": done.said,
        "stream": done.stream,
        "stored_as": done.stored_as,
    }
