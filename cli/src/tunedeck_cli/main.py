"""The commands."""

import asyncio
import contextlib
import importlib.util
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import structlog
import typer

from tunedeck_chassis import secrets as deployment_secrets
from tunedeck_chassis.misprovisioned import Misprovisioned
from tunedeck_chassis.provisioning import provision as provision_servers
from tunedeck_cli import bundled_model, dlq, installation, jobs
from tunedeck_cli import demo as demonstration
from tunedeck_cli.backup import backup, restore
from tunedeck_cli.client import Client
from tunedeck_cli.errors import CommandFailed
from tunedeck_cli.home import Home
from tunedeck_cli.output import console, notes
from tunedeck_cli.ports import LOOPBACK
from tunedeck_cli.stack import Stack
from tunedeck_cli.verify import verify

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Tunedeck: fine-tune and watch.",
)
models = typer.Typer(no_args_is_help=True, help="The models on this machine.")
app.add_typer(models, name="models")
app.add_typer(jobs.app, name="jobs")
app.add_typer(dlq.app, name="dlq")
app.command()(verify)
app.command()(backup)
app.command()(restore)

INTERRUPTED = 130
ALONE = {"TUNEDECK_HOST": LOOPBACK, "TUNEDECK_AUTH": "off", "TUNEDECK_LIMITS": "off"}
"""The demo's gateway: nobody else reaches it, so that it asks for no key."""


@app.command()
def up() -> None:
    """Run the whole stack on this machine until Ctrl-C."""
    home = Home.from_environment()
    with _running(home) as stack:
        _say_addresses(stack)
        console.print("Ctrl-C stops everything.")
        stack.supervisor.wait()
        raise CommandFailed(f"supervisord ended; its log is {home.logs / 'supervisord.log'}.")


@app.command()
def demo(
    examples: Annotated[Path, typer.Option(help="Folder with python-docs.csv.")] = Path("examples"),
) -> None:
    """Start the stack for oneself, fine-tune the bundled model through it, and stop it."""
    home = Home.from_environment()
    files = demonstration.Examples(examples)
    home.create()
    bundled_model.prepare(home.models)
    with _running(home, ALONE) as stack, Client(stack.api_url, stack.monitor_url) as client:
        succeeded = demonstration.run(client, home, files, console)
        _say_addresses(stack)
        console.print("`make up` keeps the same stack running.")
    raise typer.Exit(0 if succeeded else 1)


@app.command()
def provision() -> None:
    """Prepare MongoDB and NATS: replica set, users, streams, consumers. Says what it changes.

    It asks those of TUNEDECK_NATS_URL and TUNEDECK_MONGO_URL; without both, the stack of TUNEDECK_HOME.
    """
    settings = installation.provisioning()
    try:
        changes = asyncio.run(provision_servers(settings))
    except Misprovisioned as error:
        raise CommandFailed(str(error)) from error
    for change in changes or ["Everything is as it should be."]:
        console.print(change, markup=False)


@app.command()
def secrets(folder: Annotated[Path, typer.Argument(help="Made if missing; what is there stays.")]) -> None:
    """Make the keys and passwords of a deployment's users that are missing in a folder."""
    try:
        made = deployment_secrets.create(folder)
    except OSError as error:
        raise CommandFailed(f"The secrets cannot be written into {folder}: {error}") from error
    for path in made:
        console.print(f"Made {path}", markup=False, soft_wrap=True)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    help="Make, list and revoke API keys: create, list, revoke; each says more with --help.",
)
def keys(context: typer.Context) -> None:
    """The gateway's own command, on the running stack's database unless TUNEDECK_MONGO_URL names another."""
    if importlib.util.find_spec("tunedeck_gateway") is None:
        raise CommandFailed(
            "API keys are made where the gateway is installed. With containers: "
            f"`docker compose exec gateway python -m tunedeck_gateway.keys {shlex.join(context.args)}`."
        )
    command = [sys.executable, "-m", "tunedeck_gateway.keys", *context.args]
    found = installation.environment(installation.MONGO_URL, "gateway")
    raise typer.Exit(subprocess.run(command, env=found, check=False).returncode)


@models.command()
def prepare() -> None:
    """Convert the bundled model to safetensors, unless that was done."""
    home = Home.from_environment()
    home.create()
    converted = bundled_model.prepare(home.models)
    folder = bundled_model.folder(home.models)
    console.print(f"{'Converted into' if converted else 'Already in'} {folder}", soft_wrap=True)


@contextlib.contextmanager
def _running(home: Home, environment: dict[str, str] | None = None) -> Iterator[Stack]:
    stack = Stack(home, say=lambda sentence: console.print(sentence, markup=False), environment=environment)
    try:
        stack.start()
        yield stack
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    finally:
        # A second Ctrl-C would leave half of it running.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        console.print("Stopping")
        stack.stop()


def _say_addresses(stack: Stack) -> None:
    for name, url in (("API", stack.api_url), ("Monitor", stack.monitor_url)):
        console.print(f"{name}: {url}   docs: {url}/docs")


def main() -> None:
    """Run the command; a failure is one message and exit status 1, Ctrl-C or SIGTERM is 130."""
    # Standard output has data alone.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Started from a script in the background, SIGINT is ignored unless this is said.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        app()
    except CommandFailed as error:
        notes.print(str(error), style="red", markup=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
