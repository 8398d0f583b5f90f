"""What a run's GPU draws, where it tells: NVML counts the energy of the whole GPU, in millijoules."""

from collections.abc import Callable

import pynvml

_MILLIJOULES_AN_HOUR_OF_A_WATT = 3_600_000.0


class EnergyMeter:
    """Of the GPU of a device ('cuda:<index>' on its host); of any other device nothing is known."""

    def __init__(self, device: str) -> None:
        self._handle = _handle(device)
        self._began = self._counted()

    @property
    def watts(self) -> float | None:
        """What it draws now."""
        milliwatts = self._read(pynvml.nvmlDeviceGetPowerUsage)
        return milliwatts / 1000 if milliwatts is not None else None

    @property
    def watt_hours(self) -> float | None:
        """What it has drawn since this was made."""
        now = self._counted()
        if now is None or self._began is None:
            return None
        return (now - self._began) / _MILLIJOULES_AN_HOUR_OF_A_WATT

    def _counted(self) -> int | None:
        return self._read(pynvml.nvmlDeviceGetTotalEnergyConsumption)

    def _read(self, figure: Callable[[object], int]) -> int | None:
        if self._handle is None:
            return None
        try:
            return figure(self._handle)
        except pynvml.NVMLError:
            return None


def _handle(device: str) -> object | None:
    kind, _, index = device.partition(":")
    if kind != "cuda":
        return None
    try:
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetHandleByIndex(int(index or 0))  # type: ignore[no-any-return]
    except pynvml.NVMLError:
        return None
