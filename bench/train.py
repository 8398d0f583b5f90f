"""The recipe's speed: beside TRL, a plain Trainer, the machine's matrix products, and itself in the stack."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import httpx

from bench.results import Measurement
from bench.stack import running_stack
from bench.train_setup import EXAMPLES, SETTINGS, Setup, link_model, prepared_folder
from tunedeck_cli.client import Client
from tunedeck_contracts.training import LossPoint
from tunedeck_trainer.process import environment

ROUNDS = 3
PACKAGES = ("torch", "transformers", "peft", "accelerate", "trl")
PEERS = {
    "trl": ("TRL SFTTrainer, its defaults", 3.5),
    "trl_tuned": ("TRL SFTTrainer, tuned", 2.0),
    "plain": ("transformers.Trainer", 1.5),
}
"""Each with its goal. `train_side` says what each does."""

OF_THE_MACHINE = 0.65
WITH_TELEMETRY = 0.99
SAME_LOSS = 1.01
_JOB_SECONDS = 1800.0

Figures = dict[str, float]


def measure() -> list[Measurement]:
    """Every side in a process of its own, in turn, the order turned round in every other round."""
    with tempfile.TemporaryDirectory(prefix="tunedeck-bench-") as folder:
        setup = prepared_folder(Path(folder))
        sides: dict[str, Callable[[], Figures]] = {
            **{name: partial(side, name, setup) for name in ("ours", *PEERS)},
            "in_the_stack": partial(in_the_stack, setup),
        }
        rounds = [_round(sides, turned=number % 2 == 1) for number in range(ROUNDS)]
    return _measurements(rounds)


def _round(sides: dict[str, Callable[[], Figures]], turned: bool) -> dict[str, Figures]:
    measured = {}
    for name in sorted(sides, reverse=turned):
        measured[name] = sides[name]()
        print(f"{name}: {measured[name]}", file=sys.stderr, flush=True)
    return measured


def side(name: str, setup: Setup) -> Figures:
    """What `train_side` measures of one side, in a process of its own.

    Raises:
        RuntimeError: it failed; with the end of what it printed.
    """
    command = [sys.executable, "-m", "bench.train_side", name, str(setup.folder), setup.model]
    # Ours in the pages in which a trainer starts its process.
    pages = {"GLIBC_TUNABLES": environment("cpu")["GLIBC_TUNABLES"]} if name == "ours" else {}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | pages)
    if done.returncode != 0:
        raise RuntimeError(f"{name} failed:\n{done.stderr[-3000:]}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def in_the_stack(setup: Setup) -> Figures:
    """The same run as a job of the whole stack: its points by pipe, spool, bus and database, its samples."""
    from bench.train_side import rate_of

    with running_stack() as stack, Client(stack.api_url, stack.api_url) as client:
        link_model(stack.home.models, setup.model, setup.models)
        upload = client.preview_csv(EXAMPLES)
        dataset = client.create_dataset(upload["upload_id"], "Python documentation")
        configuration = {
            "model": {"uid": setup.model, "name": setup.model},
            "dataset": {"uid": dataset["uid"], "name": dataset["name"]},
            "hyperparameters": SETTINGS.model_dump(mode="json"),
        }
        job = client.create_job({"name": "Benchmark", "description": "", "configuration": configuration})
        ended = client.wait_until_past(job["uid"], seconds=_JOB_SECONDS)
        if ended["status"] != "completed":
            raise RuntimeError(f"The job ended as {ended['status']}: {ended.get('failure')}")
        losses = httpx.get(
            f"{stack.api_url}/api/training/losses", params={"job_id": job["uid"], "last_n": 10_000}
        )
        points = [LossPoint.model_validate(one) for one in losses.raise_for_status().json()]
    return {"rate": rate_of(points), "validation_loss": ended["result"]["validationLossAfter"]}


def _measurements(rounds: Sequence[dict[str, Figures]]) -> list[Measurement]:
    def of(side: str, figure: str) -> list[float]:
        return [one[side][figure] for one in rounds]

    def measured(
        name: str,
        unit: str,
        ours: Sequence[float],
        peer: Sequence[float],
        peer_name: str,
        goal: float | None,
        *,
        higher_is_better: bool = True,
    ) -> Measurement:
        return Measurement(
            name=f"train.{name}",
            unit=unit,
            ours=ours,
            peer=peer,
            peer_name=peer_name,
            goal=goal,
            higher_is_better=higher_is_better,
            packages=PACKAGES,
        )

    rate = of("ours", "rate")
    made = [
        measured(name, "tokens/s", rate, of(name, "rate"), title, goal)
        for name, (title, goal) in PEERS.items()
    ]
    made += [
        measured(
            f"{name}.{figure}",
            unit,
            of("ours", figure),
            of(name, figure),
            title,
            goal,
            higher_is_better=False,
        )
        for figure, unit, goal in (("validation_loss", "nats", SAME_LOSS), ("memory", "bytes", None))
        for name, (title, _) in PEERS.items()
    ]
    shape = "torch.mm at (positions of a batch, hidden, feed-forward)"
    machine = measured("machine", "FLOP/s", of("ours", "flops"), of("ours", "mm"), shape, OF_THE_MACHINE)
    told = of("in_the_stack", "rate")
    telemetry = measured("in_the_stack", "tokens/s", told, rate, "itself, telling nobody", WITH_TELEMETRY)
    return [*made, machine, telemetry]
