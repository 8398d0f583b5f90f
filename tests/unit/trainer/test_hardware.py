"""Real figures of this machine."""

from pathlib import Path
from typing import Any

import psutil
import pytest

from tunedeck_contracts.jobs import Device
from tunedeck_trainer.hardware import Hardware
from tunedeck_trainer.surroundings import Surroundings


def test_a_sample_is_this_machines(tmp_path: Path) -> None:
    sample = Hardware(tmp_path).sample(3)
    assert sample.iteration == 3
    assert sample.ram_total_gb == psutil.virtual_memory().total / 2**30
    assert 0 < sample.ram_used_gb < sample.ram_total_gb
    assert sample.gpu_count == len(sample.gpus)
    if not sample.gpus:
        assert (sample.gpu_percent, sample.vram_total_gb, sample.gpu_temp) == (0.0, 0.0, None)
    assert sample.network_in_mbps >= 0


@pytest.mark.parametrize(
    ("devices", "asked", "given"),
    [
        (("cpu", "cuda:0"), Device.GPU, ("cuda:0",)),
        (("cpu", "cuda:0"), Device.CPU, ("cpu",)),
        (("cpu", "cuda:0"), None, ("cpu",)),
        (("cuda:1", "cpu"), Device.CPU, ("cpu",)),
        (("cuda:1", "cpu", "cuda:0"), None, ("cuda:1", "cuda:0")),
        (("cuda:1", "cuda:0"), Device.GPU, ("cuda:1", "cuda:0")),
    ],
)
def test_a_run_gets_the_devices_of_the_kind_that_its_job_asks_for(
    devices: tuple[str, ...], asked: Device | None, given: tuple[str, ...]
) -> None:
    nothing: Any = None
    around = Surroundings(
        settings=nothing,
        trainer_id="trainer_1",
        device=devices[0],
        bus=nothing,
        blobs=nothing,
        hardware=nothing,
        weights=nothing,
        devices=devices,
    )
    assert around.devices_for(asked) == given
