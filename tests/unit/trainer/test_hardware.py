"""Real figures of this machine."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pynvml
import pytest

from tunedeck_contracts.jobs import Device
from tunedeck_trainer.hardware import Hardware
from tunedeck_trainer.settings import TrainerSettings
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
        disk=nothing,
        devices=devices,
    )
    assert around.devices_for(asked) == given


class Nvml:
    """A machine of three GPUs, of which the second shares its memory with the processor."""

    def handle(self, index: int) -> int:
        return index

    def uuid(self, handle: int) -> str:
        return f"GPU-{handle}f93-7a"

    def memory(self, handle: int) -> Any:
        if handle == 1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return SimpleNamespace(used=2**30, total=4 * 2**30)

    def unsupported(self, *_: object) -> Any:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


@pytest.fixture
def three_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml()
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 3)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", nvml.handle)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUUID", nvml.uuid)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", nvml.memory)
    for figure in ("Name", "UtilizationRates", "Temperature", "PowerUsage"):
        monkeypatch.setattr(pynvml, f"nvmlDeviceGet{figure}", nvml.unsupported)


def test_a_gpu_that_does_not_tell_its_memory_is_sampled_all_the_same(
    three_gpus: None, tmp_path: Path
) -> None:
    sample = Hardware(tmp_path).sample(1)
    assert [gpu.vram_total_gb for gpu in sample.gpus] == [4.0, 0.0, 4.0]
    assert (sample.vram_used_gb, sample.gpu_temp) == (2.0, None)


@pytest.mark.parametrize(
    ("variable", "usable"),
    [
        (None, [0, 1, 2]),
        ("1", [1]),
        ("2, 0", [2, 0]),
        ("GPU-2f93-7a,GPU-1f", [2, 1]),
        ("0,0", [0]),
        ("0,GPU-,1", [0]),
        ("0,GPU-9,1", [0]),
        ("1,7,0", [1]),
        ("-1", []),
        ("", []),
    ],
)
def test_a_trainer_takes_the_gpus_that_cuda_leaves_it(
    three_gpus: None, tmp_path: Path, variable: str | None, usable: list[int]
) -> None:
    assert Hardware(tmp_path).usable_gpus(variable) == usable


def test_the_variable_is_cudas_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert TrainerSettings().cuda_visible_devices == "1"


def test_a_name_of_no_gpu_does_not_mean_the_processor(three_gpus: None, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'MIG-3f93', of which NVML knows no GPU here"):
        Hardware(tmp_path).usable_gpus("MIG-3f93")
