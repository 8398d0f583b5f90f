"""What the stack takes from a training that leaves it a core: a job on one thread fewer than there are cores.

On all cores its products wait for what the other processes do meanwhile: `train.in_the_stack` tells of that.
"""

import os
import tempfile
from pathlib import Path
from unittest.mock import patch

from bench.results import Measurement, alternated
from bench.train import PACKAGES, ROUNDS, WITH_TELEMETRY, in_the_stack, side
from bench.train_setup import prepared_folder


def measure() -> list[Measurement]:
    """Both sides in turn, each in processes of its own.

    Raises:
        RuntimeError: there is one core alone, and none to spare.
    """
    threads = len(os.sched_getaffinity(0)) - 1
    if threads < 1:
        raise RuntimeError("There is one core alone: this benchmark needs two or more.")
    with (
        tempfile.TemporaryDirectory(prefix="tunedeck-bench-") as folder,
        patch.dict(os.environ, OMP_NUM_THREADS=str(threads)),
    ):
        setup = prepared_folder(Path(folder))
        ours, peer = alternated(
            lambda: in_the_stack(setup)["rate"], lambda: side("ours", setup)["rate"], rounds=ROUNDS
        )
    return [
        Measurement(
            name="train_spare_core.in_the_stack",
            unit="tokens/s",
            ours=ours,
            peer=peer,
            peer_name="itself, telling nobody",
            goal=WITH_TELEMETRY,
            higher_is_better=True,
            packages=PACKAGES,
        )
    ]
