"""`tunedeck jobs`: an operator's look at the jobs, over HTTP and the live stream."""

import math
from typing import Annotated, Any

import typer

from tunedeck_cli import installation
from tunedeck_cli.output import AsJson, console, note, plain, print_json, table
from tunedeck_cli.progress import show
from tunedeck_cli.replay import in_words
from tunedeck_contracts.estimates import BatchSplit

app = typer.Typer(no_args_is_help=True, help="The jobs of the installation of TUNEDECK_API_URL.")

Uid = Annotated[str, typer.Argument(help="The job's uid; `tunedeck jobs list` shows it.")]
Job = dict[str, Any]

_FIGURES = (
    ("seconds", "seconds", 1.0),
    ("memory (MiB)", "peakMemoryBytes", 2.0**20),
    ("energy (Wh)", "energyWattHours", 1.0),
)
"""Of an estimate: what a person reads, its key, and how much of it is one."""


@app.command("list")
def list_jobs(
    status: Annotated[list[str], typer.Option(help="Only jobs in this state; may be repeated.")] = [],  # noqa: B006
    text: Annotated[str, typer.Option(help="Only jobs with this in name, description or uid.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show the newest jobs; as JSON, the answer of GET /api/jobs."""
    with installation.api() as client:
        found = client.jobs(status=status, q=text, limit=limit)
    if as_json:
        print_json(found)
        return
    shown = table("uid", "status", "step", "loss", "validation", "created (UTC)", "name")
    for job in found["jobs"]:
        shown.add_row(*(plain(cell) for cell in _cells(job)))
    console.print(shown)
    if found["next_cursor"] is not None:
        note(f"These are the newest {limit}; --limit shows more, --status and --text fewer.")


@app.command()
def watch(uid: Uid, as_json: AsJson = False) -> None:
    """Follow a job to its end, and show what it took beside what was predicted.

    As JSON: each frame of the live stream in a line of its own.

    The exit status is 0 when the job completed, and 1 when it ended otherwise.
    """
    with installation.api() as client:
        job = client.job(uid)
        frames = client.follow(uid, seconds=math.inf)
        if as_json:
            for frame in frames:
                print_json(frame)
        else:
            show(frames, console, total=0)
        job = client.job(uid)
    if not as_json:
        console.print(plain(_ending(job)), soft_wrap=True)
        _show_estimate(job)
    raise typer.Exit(0 if job["status"] == "completed" else 1)


@app.command()
def cancel(uid: Uid, as_json: AsJson = False) -> None:
    """Ask for a job's end: at once where it waits, at the next step where it trains."""
    with installation.api() as client:
        job = client.cancel(uid)
    if as_json:
        print_json(job)
    elif job["status"] == "cancelled":
        console.print(plain(f"{uid} is cancelled."))
    else:
        console.print(
            plain(f"{uid} is {job['status']}, and ends at its next step: `tunedeck jobs watch {uid}`.")
        )


@app.command()
def logs(uid: Uid, as_json: AsJson = False) -> None:
    """Show the newest lines that a job's training process wrote; as JSON, with level, number and time."""
    with installation.api() as client:
        found = client.logs(uid)
    if as_json:
        print_json(found)
        return
    for line in found["lines"]:
        console.print(plain(line["text"]), soft_wrap=True)
    if not found["lines"]:
        note(f"{uid} has written nothing yet.")


def _cells(job: Job) -> list[str]:
    live, result = job.get("live_metrics") or {}, job.get("result") or {}
    training = job["training"]
    return [
        job["uid"],
        job["status"],
        f"{training['currentStep']}/{training['totalSteps']}" if training.get("totalSteps") else "-",
        _loss(live.get("current_loss")),
        _loss(live.get("validation_loss", result.get("validationLossAfter"))),
        job["createdAt"][:16].replace("T", " "),
        job["name"],
    ]


def _show_estimate(job: Job) -> None:
    """Predicted against actual, and the split of the batches where they did not fit as asked for."""
    estimate = job.get("estimate") or {}
    predicted, actual = estimate.get("predicted") or {}, estimate.get("actual") or {}
    if predicted or actual:
        shown = table("", "predicted", "actual")
        for name, key, unit in _FIGURES:
            if predicted.get(key) is None and actual.get(key) is None:
                continue
            shown.add_row(name, _range(predicted.get(key), unit), _figure(actual.get(key), unit))
        console.print(shown)
    if job.get("batchSplit"):
        split = BatchSplit.model_validate(job["batchSplit"])
        console.print(plain(f"Batches: {in_words(split)}. {split.reason}".strip()), soft_wrap=True)


def _range(found: dict[str, float] | None, unit: float) -> str:
    if found is None:
        return "-"
    low, expected, high = (_figure(found[name], unit) for name in ("low", "expected", "high"))
    return f"{expected} ({low} to {high})"


def _figure(value: float | None, unit: float) -> str:
    return "-" if value is None else f"{value / unit:.1f}"


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _ending(job: Job) -> str:
    failure = job.get("failure") or {}
    reason = f" ({failure['code']}): {failure['detail']}" if failure else "."
    return f"{job['uid']} is {job['status']}{reason}"
