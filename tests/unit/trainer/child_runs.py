"""Runs the real training process on a spec in a folder, without the service around it."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tunedeck_contracts.datasets import ResolvedDataset
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.model_saving import ModelSaving
from tunedeck_contracts.models import ResolvedModel
from tunedeck_contracts.runs import Run
from tunedeck_trainer.pipe import SPEC_FILE, FromChild, Spec, decode
from tunedeck_trainer.process import module

MODEL = "local/tiny"
PIPE_BYTES = 4096

OnMessage = Callable[[FromChild, subprocess.Popen[bytes]], None]


def write_rows(file: Path, count: int) -> None:
    """Rows of JSON Lines, each different."""
    rows = [{"input": f"What is {n} plus {n}?", "output": f"It is {n + n}."} for n in range(count)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def a_run(settings: Hyperparameters, model: str = MODEL, fence: int = 1) -> Run:
    """A run of a job on the tiny model."""
    return Run(
        job_uid="job_1_aaaa",
        job_name="A job",
        fence=fence,
        attempt=1,
        training_mode="manual",
        model=ResolvedModel(uid=model, name="tiny", revision="sha256:0", source="folder"),
        dataset=ResolvedDataset(uid="dataset_1_a", name="sums", rows=30, rows_blob="b", rows_sha256="0"),
        hyperparameters=settings,
        model_saving=ModelSaving(),
        lease_seconds=30,
        beat_seconds=5,
    )


def run_child(
    folder: Path,
    models_dir: Path,
    settings: Hyperparameters,
    on_message: OnMessage | None = None,
    model: str = MODEL,
    threads: int = 1,
    devices: Sequence[str] = (),
    resume: Path | None = None,
    **of_run: object,
) -> tuple[list[FromChild], int, str]:
    """All that the child told, its exit status, and what it printed."""
    rows = folder / "rows.jsonl"
    if not rows.exists():
        write_rows(rows, 30)
    run = a_run(settings, model).model_copy(update=of_run)
    spec = Spec(
        run=run,
        models_dir=models_dir,
        rows_file=rows,
        device="cpu",
        devices=list(devices),
        threads=threads,
        resume=resume,
    )
    (folder / SPEC_FILE).write_bytes(spec.to_json())
    told: list[FromChild] = []
    reading, writing = os.pipe()
    # So that a child cannot run far ahead of a test that is held up.
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    with (folder / "output.txt").open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", *module(spec), str(folder), str(writing)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[writing],
        )
        os.close(writing)
        with os.fdopen(reading, "rb") as lines:
            for line in lines:
                told.append(decode(line))
                if on_message is not None:
                    on_message(told[-1], child)
        status = child.wait(30)
        if child.stdin is not None:
            child.stdin.close()
    return told, status, (folder / "output.txt").read_text()
