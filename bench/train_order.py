"""What reading rows of like length together costs in quality: beside rows in any order, the same tokens read.

Both sides read every training row once, so that they have read equal tokens at the end, by each of three
seeds, which also draw the validation rows and the LoRA matrices.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

import torch
from torch.utils.data import Sampler

from bench.results import Measurement, alternated
from bench.train_setup import SETTINGS, Setup, prepared_folder

SEEDS = (1, 2, 3)
ROWS = 352
"""Of the example, 96 for validation: 32 steps."""
NEAR = 1.01
PACKAGES = ("torch", "transformers", "peft", "accelerate")


class AnyOrder(Sampler[int]):
    """Shuffled anew each epoch; made as `EpochOrder` is."""

    def __init__(self, lengths: list[int], rows_a_step: int, seed: int) -> None:
        self._rows = len(lengths)
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch that comes, from 0."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed((self._seed << 24) + self._epoch)
        yield from torch.randperm(self._rows, generator=generator).tolist()


def measure() -> list[Measurement]:
    """Each run in a process of its own, one round for each seed."""
    with tempfile.TemporaryDirectory(prefix="tunedeck-bench-") as folder:
        setup = prepared_folder(Path(folder))
        rows = setup.rows.read_text(encoding="utf-8").splitlines(keepends=True)
        setup.rows.write_text("".join(rows[:ROWS]), encoding="utf-8")
        seeds = {side: count() for side in ("grouped", "any")}
        ours, peer = alternated(
            *(partial(_next, side, setup.folder, seeds[side]) for side in seeds), rounds=len(SEEDS)
        )
    return [
        Measurement(
            name="train_order.validation_loss",
            unit="nats",
            ours=ours,
            peer=peer,
            peer_name="rows in any order",
            goal=NEAR,
            higher_is_better=False,
            packages=PACKAGES,
        )
    ]


def _next(side: str, folder: Path, numbers: Iterator[int]) -> float:
    seed = SEEDS[next(numbers)]
    command = [sys.executable, "-m", "bench.train_order", side, str(folder), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{side} failed:\n{done.stderr[-3000:]}")
    loss = float(json.loads(done.stdout.splitlines()[-1]))
    print(f"{side}, seed {seed}: {loss:.4f}", file=sys.stderr, flush=True)
    return loss


def main() -> None:
    """Train once; print the validation loss at the end."""
    from bench.train_side import fine_tuned
    from tunedeck_trainer import loop

    side, folder, seed = sys.argv[1:]
    if side == "any":
        loop.EpochOrder = AnyOrder
    changed = {"max_steps": None, "epochs": 1, "seed": int(seed)}
    result, *_ = fine_tuned(Setup(Path(folder)), SETTINGS.model_copy(update=changed))
    print(json.dumps(result.validation_loss_last))


if __name__ == "__main__":
    main()
