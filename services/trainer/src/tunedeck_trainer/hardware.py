"""What the host's hardware does: psutil for the machine, NVML for its GPUs. Nothing is invented."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import psutil
import pynvml

from tunedeck_contracts.message import utc_now
from tunedeck_contracts.training import GpuSample, ResourceSample

Figure = TypeVar("Figure")

_GIB = 2**30
_NO_GPU = ("", "-1", "NoDevFiles")
"""What CUDA_VISIBLE_DEVICES is set to where no GPU is to be used."""
_CPU_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "acpitz")


@dataclass(frozen=True)
class _Traffic:
    at: float
    received: int
    sent: int


class Hardware:
    """Takes samples; rates are averages since the sample before, or since this was made."""

    def __init__(self, disk: Path) -> None:
        self._disk = disk
        self._traffic = _traffic()
        self._gpus = _gpu_handles()
        psutil.cpu_percent()

    def usable_gpus(self, named: str | None) -> list[int]:
        """NVML's numbers of the GPUs that CUDA_VISIBLE_DEVICES leaves to this process, all where it is None.

        As CUDA reads it where CUDA_DEVICE_ORDER is PCI_BUS_ID: numbers or beginnings of UUIDs, up to the
        first that is of no GPU.

        Raises:
            ValueError: it names something, and none of it is a GPU that NVML knows.
        """
        if named is None:
            return list(self._gpus)
        usable: list[int] = []
        for one in named.split(","):
            index = self._index(one.strip())
            if index is None:
                break
            usable.append(index)
        if not usable and named.strip() not in _NO_GPU:
            raise ValueError(
                f"CUDA_VISIBLE_DEVICES is {named!r}, of which NVML knows no GPU here: name whole GPUs by "
                "their number or UUID, or unset it; TUNEDECK_DEVICES=cpu trains on the CPU."
            )
        return list(dict.fromkeys(usable))

    def _index(self, named: str) -> int | None:
        if named.isdecimal():
            return int(named) if int(named) in self._gpus else None
        found = [index for index, handle in self._gpus.items() if named and _uuid(handle).startswith(named)]
        return found[0] if len(found) == 1 else None

    def sample(self, iteration: int) -> ResourceSample:
        """The figures now; `iteration` is the run's newest loss point."""
        memory = psutil.virtual_memory()
        disk = psutil.disk_usage(str(self._disk))
        received, sent = self._network()
        gpus = [_gpu(index, handle) for index, handle in self._gpus.items()]
        temperatures = [gpu.temp for gpu in gpus if gpu.temp is not None]
        return ResourceSample(
            iteration=iteration,
            cpu_percent=psutil.cpu_percent(),
            ram_used_gb=(memory.total - memory.available) / _GIB,
            ram_total_gb=memory.total / _GIB,
            gpu_percent=sum(gpu.percent for gpu in gpus) / len(gpus) if gpus else 0.0,
            vram_used_gb=sum(gpu.vram_used_gb for gpu in gpus),
            vram_total_gb=sum(gpu.vram_total_gb for gpu in gpus),
            disk_used_gb=disk.used / _GIB,
            disk_total_gb=disk.total / _GIB,
            gpu_temp=max(temperatures) if temperatures else None,
            cpu_temp=_cpu_temperature(),
            network_in_mbps=received,
            network_out_mbps=sent,
            gpu_count=len(gpus),
            gpus=gpus,
            timestamp=utc_now(),
        )

    def _network(self) -> tuple[float, float]:
        before, now = self._traffic, _traffic()
        self._traffic = now
        seconds = now.at - before.at
        if seconds <= 0:
            return 0.0, 0.0
        received = max(0, now.received - before.received)
        sent = max(0, now.sent - before.sent)
        return received * 8 / 1e6 / seconds, sent * 8 / 1e6 / seconds


def _traffic() -> _Traffic:
    counters = psutil.net_io_counters()
    if counters is None:
        return _Traffic(time.monotonic(), 0, 0)
    return _Traffic(time.monotonic(), counters.bytes_recv, counters.bytes_sent)


def _cpu_temperature() -> float | None:
    sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    readings = [one.current for name in _CPU_SENSORS for one in sensors.get(name, []) if one.current]
    return max(readings) if readings else None


def _gpu_handles() -> dict[int, object]:
    """By NVML's number, without those that are lost."""
    try:
        pynvml.nvmlInit()
        numbers = range(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return {}
    found = {number: _or_none(partial(pynvml.nvmlDeviceGetHandleByIndex, number)) for number in numbers}
    return {number: handle for number, handle in found.items() if handle is not None}


def _uuid(handle: object) -> str:
    uuid = _or_none(lambda: pynvml.nvmlDeviceGetUUID(handle))
    return uuid.decode() if isinstance(uuid, bytes) else uuid or ""


def _gpu(index: int, handle: object) -> GpuSample:
    name = _or_none(lambda: pynvml.nvmlDeviceGetName(handle))
    # One that shares the machine's memory tells none of its own.
    memory = _or_none(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle))
    return GpuSample(
        index=index,
        name=name.decode() if isinstance(name, bytes) else name or "GPU",
        percent=float(_or_none(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu) or 0.0),
        vram_used_gb=memory.used / _GIB if memory is not None else 0.0,
        vram_total_gb=memory.total / _GIB if memory is not None else 0.0,
        temp=_or_none(lambda: float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))),
        power_watts=_or_none(lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1000),
    )


def _or_none(read: Callable[[], Figure]) -> Figure | None:
    """A figure, or None where this GPU does not give it."""
    try:
        return read()
    except pynvml.NVMLError:
        return None
