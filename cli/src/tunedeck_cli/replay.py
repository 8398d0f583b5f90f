"""Trains the first steps of a job again, as a job of its own, and compares what both lost."""

import contextlib
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from tunedeck_cli.client import PAST, Client, Json
from tunedeck_cli.errors import CommandFailed
from tunedeck_cli.output import note
from tunedeck_contracts.artifacts import MANIFEST, Losses, Manifest
from tunedeck_contracts.estimates import BatchSplit

_END_SECONDS = 60.0


@dataclass(frozen=True)
class Difference:
    """Something that a loss depends on, and that is not what it was."""

    what: str
    recorded: str
    replayed: str


@dataclass(frozen=True)
class ComparedLoss:
    """One loss of both runs; `what` is 'training' or 'validation'."""

    step: int
    what: str
    recorded: float
    replayed: float
    agrees: bool


@dataclass(frozen=True)
class Replay:
    """How the first steps went the second time. With a `tolerance` of 0 the losses had to be equal."""

    job_uid: str
    steps: int
    tolerance: float
    differences: list[Difference]
    losses: list[ComparedLoss]

    @property
    def passed(self) -> bool:
        """Whether every loss agrees, and the same was trained."""
        same = not any(one.what in _TRAINED for one in self.differences)
        return same and bool(self.losses) and all(one.agrees for one in self.losses)


_TRAINED = ("base model", "base revision", "dataset", "settings")


def check_replayable(manifest: Manifest) -> Losses:
    """The losses to compare with. Raises CommandFailed for a manifest of a former version."""
    if manifest.losses is None or manifest.hyperparameters is None or manifest.environment is None:
        raise CommandFailed(
            "The manifest is of a former version, without settings and losses: only its files can be "
            "checked, with --files-only."
        )
    return manifest.losses


def replayed(client: Client, manifest: Manifest, steps: int) -> tuple[str, Manifest]:
    """Train the first steps as a job, which is deleted afterwards; its uid, and what its manifest says."""
    job = client.create_job(job_of(manifest, steps))
    uid = str(job["uid"])
    note(f"Job {uid} trains the first {steps} steps again.")
    try:
        if job["status"] == "created":
            raise CommandFailed(f"The steps cannot be trained again here: {' '.join(job['problems'])}")
        for problem in client.job(uid)["problems"]:
            # Of a queued job: that no trainer has such a device, for which it waits without end.
            note(problem)
        ended = client.wait_until_past(uid, seconds=float("inf"))
        if ended["status"] != "completed":
            failure = ended.get("failure") or {}
            said = f"{failure.get('detail', '')} {failure.get('hint', '')}".strip()
            raise CommandFailed(f"Training the steps again ended as {ended['status']}. {said}".strip())
        return uid, Manifest.model_validate_json(client.artifact(uid, MANIFEST))
    except ValidationError as error:
        raise CommandFailed(f"The manifest of job {uid} cannot be read: {error}") from error
    finally:
        _remove(client, uid)


def compared(recorded: Manifest, uid: str, again: Manifest, steps: int, tolerance: float) -> Replay:
    """Both runs side by side; equal losses are asked for where all is equal that they depend on.

    Raises:
        CommandFailed: they had another number of processes, and so other rows in each step.
    """
    _check_processes(recorded, again)
    differences = differences_of(recorded, again)
    on_cpu = recorded.environment is not None and recorded.environment.device == "cpu"
    allowed = 0.0 if on_cpu and not differences else tolerance
    was, now = check_replayable(recorded), check_replayable(again)
    pairs = [
        (step, "training", was.train[step - 1], now.train[step - 1])
        for step in range(1, min(steps, len(was.train), len(now.train)) + 1)
    ]
    evaluated = {one.step: one.validation_loss for one in now.evaluations}
    pairs += [
        (one.step, "validation", one.validation_loss, evaluated[one.step])
        for one in was.evaluations
        if one.step in evaluated
    ]
    losses = [
        ComparedLoss(step, what, a, b, abs(a - b) <= allowed * max(1.0, abs(a)))
        for step, what, a, b in sorted(pairs)
    ]
    return Replay(uid, steps, allowed, differences, losses)


def differences_of(recorded: Manifest, again: Manifest) -> list[Difference]:
    """What is not the same of all that losses depend on."""
    pairs: list[tuple[str, Any, Any]] = [
        ("base model", recorded.base_model, again.base_model),
        ("base revision", recorded.base_revision, again.base_revision),
        ("dataset", recorded.dataset_sha256, again.dataset_sha256),
        ("settings", recorded.hyperparameters, again.hyperparameters),
    ]
    if recorded.batch_split is not None and again.batch_split is not None:
        pairs.append(("batch split", in_words(recorded.batch_split), in_words(again.batch_split)))
    was, now = recorded.environment, again.environment
    if was is not None and now is not None:
        names = ("device", "threads", "processor", "platform", "python")
        pairs += [(name, getattr(was, name), getattr(now, name)) for name in names]
        packages = sorted(was.packages.keys() | now.packages.keys())
        pairs += [(name, was.packages.get(name, "none"), now.packages.get(name, "none")) for name in packages]
    return [Difference(what, str(a), str(b)) for what, a, b in pairs if a != b]


def in_words(split: BatchSplit) -> str:
    """How the rows of a step are split, for a person."""
    again = ", activations computed again" if split.gradient_checkpointing else ""
    return f"{split.gradient_accumulation_steps} x {split.micro_batch_size} rows a step{again}"


def _check_processes(recorded: Manifest, again: Manifest) -> None:
    """`batch_size` is of one process: n of them compute n times the rows in a step."""
    was, now = recorded.environment, again.environment
    if was is not None and now is not None and was.processes != now.processes:
        raise CommandFailed(
            f"The losses cannot be compared: the artifact was trained on {was.processes} devices at once and "
            f"the replay on {now.processes}, with batch_size rows on each, so their steps had other rows. "
            "Verify it where a trainer has as many devices (TUNEDECK_DEVICES), or only its files with "
            "--files-only."
        )


def job_of(manifest: Manifest, steps: int) -> Json:
    """The job that trains the first steps again, on a device of the kind that the artifact is of."""
    assert manifest.hyperparameters is not None
    job = {
        "name": f"Verify {manifest.job_uid}: its first {steps} steps"[:200],
        "description": "Made by `tunedeck verify`, which compares its losses with the recorded ones and "
        "deletes it.",
        "tags": ["verify"],
        "configuration": {
            "model": {"uid": manifest.base_model, "revision": manifest.base_revision},
            "dataset": {"uid": manifest.dataset_uid},
            "hyperparameters": manifest.hyperparameters.model_dump(mode="json"),
        },
        "modelSaving": {"saveModel": False},
        "trainingMode": "manual",
        "stopAfterSteps": steps,
    }
    if manifest.environment is not None:
        job["device"] = "cpu" if manifest.environment.device == "cpu" else "gpu"
    return job


def _remove(client: Client, uid: str) -> None:
    """Delete the job, ended first if it must be; that it could not be is said, and no failure."""
    try:
        if client.job(uid)["status"] not in PAST:
            with contextlib.suppress(CommandFailed):
                client.cancel(uid)
            client.wait_until_past(uid, seconds=_END_SECONDS)
        client.delete(uid)
    except CommandFailed as error:
        note(f"Job {uid} is still there; delete it when it has ended: {error}")
