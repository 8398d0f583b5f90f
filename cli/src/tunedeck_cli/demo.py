"""Fine-tunes the bundled model through the whole system, as a client would."""

import csv
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tunedeck_cli import answers, bundled_model, progress
from tunedeck_cli.client import Client, Json
from tunedeck_cli.errors import CommandFailed
from tunedeck_cli.home import Home

STEPS = 30
HYPERPARAMETERS: Json = {
    "learning_rate": 5e-4,
    "batch_size": 8,
    "max_steps": STEPS,
    "warmup_steps": 3,
    "max_length": 128,
    "eval_steps": 15,
    "validation_rows": 32,
    "seed": 42,
}
NEEDED_FALL = 0.05
"""Share of the validation loss before training that training has to take off."""

TRAINING_SECONDS = 30 * 60.0
CANCEL_SECONDS = 15.0


@dataclass(frozen=True)
class Examples:
    """The demo's files. Raises CommandFailed when they are not there."""

    folder: Path

    def __post_init__(self) -> None:
        for path in (self.dataset, self._held_out):
            if not path.is_file():
                raise CommandFailed(
                    f"{path} is missing: run the demo in Tunedeck's folder, or give --examples."
                )

    @property
    def dataset(self) -> Path:
        """Rows to train on."""
        return self.folder / "python-docs.csv"

    @property
    def _held_out(self) -> Path:
        return self.folder / "held-out-questions.csv"

    def questions(self) -> list[str]:
        """Questions that are not in the dataset."""
        with self._held_out.open(newline="", encoding="utf-8") as file:
            return [row["input"] for row in csv.DictReader(file)]


def run(client: Client, home: Home, examples: Examples, console: Console) -> bool:
    """Upload, train, watch, download, compare. True when the loss fell far enough and the adapter loads.

    On Ctrl-C the job is cancelled before the interrupt goes on.
    """
    job = _submit(client, examples, console)
    try:
        progress.show(client.follow(job["uid"], seconds=TRAINING_SECONDS), console, total=STEPS)
        ended = client.wait_until_past(job["uid"], seconds=60)
    except KeyboardInterrupt:
        _cancel(client, job["uid"], console)
        raise
    if ended["status"] != "completed":
        raise CommandFailed(_why(client, ended))
    return _judge(client, ended, home, examples, console)


def _submit(client: Client, examples: Examples, console: Console) -> Json:
    preview = client.preview_csv(examples.dataset)
    dataset = client.create_dataset(preview["upload_id"], "Python documentation")
    console.print(f"Dataset {dataset['uid']}: {dataset['rows']} rows")
    job = client.create_job(
        {
            "name": "Demo: Python documentation",
            "description": "LoRA on docstrings of the standard library",
            "tags": ["demo"],
            "configuration": {
                "model": {"uid": bundled_model.MODEL_ID, "name": "SmolLM2 135M Instruct"},
                "dataset": {"uid": dataset["uid"], "name": dataset["name"]},
                "hyperparameters": HYPERPARAMETERS,
            },
            "modelSaving": {"saveModel": True, "modelName": "python-docs"},
        }
    )
    if job["status"] == "created":
        raise CommandFailed(f"Job {job['uid']} cannot be queued: {'; '.join(job['problems'])}")
    console.print(f"Job {job['uid']}: {bundled_model.MODEL_ID}, {STEPS} steps")
    return job


def _cancel(client: Client, uid: str, console: Console) -> None:
    console.print(f"Cancelling {uid}")
    try:
        client.cancel(uid)
        client.wait_until_past(uid, seconds=CANCEL_SECONDS)
    except CommandFailed as error:
        console.print(str(error), markup=False)


def _why(client: Client, job: Json) -> str:
    failure = job.get("failure") or {}
    said = f"Job {job['uid']} {job['status']}: {failure.get('detail', '')} {failure.get('hint', '')}".strip()
    try:
        return "\n".join([said, *(line["text"] for line in client.logs(job["uid"])["lines"][-15:])])
    except CommandFailed:
        return said


def _judge(client: Client, job: Json, home: Home, examples: Examples, console: Console) -> bool:
    before, after = job["result"]["validationLossBefore"], job["result"]["validationLossAfter"]
    fall = 1 - after / before
    console.print(f"\nValidation loss: {before:.4f} before, {after:.4f} after ({-fall:+.1%})")
    folder = home.downloads / job["uid"]
    client.download_artifacts(job, folder)
    _compare(_adapter_folder(folder), home, examples.questions(), console)
    console.print(f"\nAdapter: {folder}", soft_wrap=True)
    if fall < NEEDED_FALL:
        console.print(f"The validation loss fell by less than {NEEDED_FALL:.0%}.")
    return bool(fall >= NEEDED_FALL)


def _adapter_folder(folder: Path) -> Path:
    for configuration in sorted(folder.rglob("adapter_config.json")):
        return configuration.parent
    raise CommandFailed(f"The job's artifacts in {folder} have no adapter_config.json.")


def _compare(adapter: Path, home: Home, questions: list[str], console: Console) -> None:
    console.print("Asking the held-out questions before and after")
    both = answers.ask(bundled_model.folder(home.models), adapter, questions)
    for question, before, after in zip(questions, both.before, both.after, strict=True):
        console.print(f"\n{question}\n  before: {_short(before)}\n  after:  {_short(after)}", markup=False)


def _short(text: str) -> str:
    return " ".join(text.split())
