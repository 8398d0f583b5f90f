"""`tunedeck verify`: whether a tuned model's files are what its manifest says, and its losses come again."""

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from tunedeck_cli import artifact_files, installation, replay
from tunedeck_cli.artifact_files import FileCheck
from tunedeck_cli.client import Client
from tunedeck_cli.errors import CommandFailed
from tunedeck_cli.output import AsJson, console, note, plain, print_json, table
from tunedeck_cli.replay import Replay
from tunedeck_contracts.artifacts import MANIFEST, Manifest

TOLERANCE = 1e-3


@dataclass(frozen=True)
class Verdict:
    """Everything that was looked at; None is what was not asked for or could not be asked."""

    job_uid: str
    files: FileCheck
    manifest_is_the_jobs: bool | None
    replay: Replay | None

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against the artifact."""
        replayed = self.replay is None or self.replay.passed
        return self.files.passed and self.manifest_is_the_jobs is not False and replayed


def verify(
    target: Annotated[str, typer.Argument(help="A folder with a downloaded artifact, or a job's uid.")],
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps that are trained again.")] = 5,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Largest difference of a loss where versions or hardware differ, as a share of it, or of 1 "
            "where it is below.",
        ),
    ] = TOLERANCE,
    files_only: Annotated[bool, typer.Option("--files-only", help="Train nothing: check the files.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check a tuned model's files by its manifest, and train its first steps again to compare the losses.

    On a CPU with the same versions and threads the losses must be equal, bit for bit; else within the
    tolerance. The exit status is 0 when all is as the manifest says, and 1 when it is not.
    """
    if files_only and Path(target).is_dir():
        verdict = _of_files(Path(target))
    else:
        with installation.api() as client:
            verdict = _verdict(client, target, None if files_only else steps, tolerance)
    if as_json:
        print_json(_json(verdict))
    else:
        _show(verdict)
    raise typer.Exit(0 if verdict.passed else 1)


def _of_files(folder: Path) -> Verdict:
    manifest = artifact_files.read_manifest(folder)
    return Verdict(manifest.job_uid, artifact_files.check(folder, manifest), None, None)


def _verdict(client: Client, target: str, steps: int | None, tolerance: float) -> Verdict:
    if Path(target).is_dir():
        return _of_folder(client, Path(target), steps, tolerance)
    job = client.job(target)
    if MANIFEST not in [one["path"] for one in job["artifacts"]]:
        raise CommandFailed(
            f"Job {target} is {job['status']} and has no {MANIFEST}: there is nothing to verify."
        )
    with tempfile.TemporaryDirectory(prefix="tunedeck-verify-") as folder:
        client.download_artifacts(job, Path(folder))
        return _of_folder(client, Path(folder), steps, tolerance)


def _of_folder(client: Client, folder: Path, steps: int | None, tolerance: float) -> Verdict:
    manifest = artifact_files.read_manifest(folder)
    files = artifact_files.check(folder, manifest)
    is_the_jobs = _is_the_jobs(client, folder, manifest)
    if steps is None:
        return Verdict(manifest.job_uid, files, is_the_jobs, None)
    few = min(steps, len(replay.check_replayable(manifest).train))
    uid, again = replay.replayed(client, manifest, few)
    return Verdict(
        manifest.job_uid, files, is_the_jobs, replay.compared(manifest, uid, again, few, tolerance)
    )


def _is_the_jobs(client: Client, folder: Path, manifest: Manifest) -> bool | None:
    """Whether the manifest is the one that the job has; None where the job is not there."""
    try:
        artifacts = client.job(manifest.job_uid)["artifacts"]
    except CommandFailed:
        return None
    hashes = [one["sha256"] for one in artifacts if one["path"] == MANIFEST]
    return artifact_files.sha256_of(folder / MANIFEST) in hashes if hashes else None


def _json(verdict: Verdict) -> dict[str, Any]:
    return {**asdict(verdict), "verified": verdict.passed}


def _show(verdict: Verdict) -> None:
    files = verdict.files
    bad = len(files.missing) + len(files.changed)
    console.print(f"Files: {files.checked - bad} of {files.checked} are as the manifest says.")
    for what, paths in (
        ("missing", files.missing),
        ("changed", files.changed),
        ("not in it", files.unlisted),
    ):
        for path in paths:
            console.print(plain(f"  {what}: {path}"), soft_wrap=True)
    if verdict.manifest_is_the_jobs is None:
        note(f"Job {verdict.job_uid} was not asked whether this is its manifest.")
    elif not verdict.manifest_is_the_jobs:
        console.print(f"Manifest: it is not the one that job {verdict.job_uid} has.")
    if verdict.replay is not None:
        _show_replay(verdict.replay)
    console.print("Verified." if verdict.passed else "Not verified.")


def _show_replay(shown: Replay) -> None:
    if shown.tolerance == 0:
        console.print("Replay: versions and hardware are the same, so the losses must be equal, bit for bit.")
    else:
        console.print(
            f"Replay: losses may differ by {shown.tolerance:g} of their size at most, and those below 1 by "
            f"{shown.tolerance:g}."
        )
    for one in shown.differences:
        console.print(plain(f"  {one.what}: {one.recorded}, now {one.replayed}"), soft_wrap=True)
    losses = table("step", "loss", "recorded", "replayed", "difference", "")
    for row in shown.losses:
        gap = f"{row.replayed - row.recorded:+.2e}" if row.replayed != row.recorded else "0"
        losses.add_row(
            str(row.step),
            row.what,
            repr(row.recorded),
            repr(row.replayed),
            gap,
            "" if row.agrees else "differs",
        )
    console.print(losses)
