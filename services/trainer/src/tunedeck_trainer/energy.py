"""What a run's GPUs draw, where they tell: NVML counts the energy of a whole GPU, in millijoules."""

import time
from collections.abc import Callable

import pynvml

_MILLIJOULES_AN_HOUR_OF_A_WATT = 3_600_000.0
_SHORTEST_LAP = 0.5
"""Seconds. The counter goes on every tenth of one: of less it tells too little."""


class EnergyMeter:
    """Of the GPUs of a run's devices ('cuda:<index>' on its host); of any other device nothing is known."""

    def __init__(self, *devices: str) -> None:
        self._handles = [_handle(device) for device in devices]
        self._began = self._counted()
        self._before: float | None = 0.0
        self._lap_began = (self._began, time.perf_counter())

    def lap(self) -> float | None:
        """The watts that they have drawn on average since the lap before; of a short one, those of now."""
        (before, began), (now, ended) = self._lap_began, (self._counted(), time.perf_counter())
        self._lap_began = (now, ended)
        if before is not None and now is not None and ended - began >= _SHORTEST_LAP:
            return (now - before) / 1000 / (ended - began)
        milliwatts = self._read(pynvml.nvmlDeviceGetPowerUsage)
        return milliwatts / 1000 if milliwatts is not None else None

    @property
    def watt_hours(self) -> float | None:
        """What they have drawn since this was made, and what was drawn before."""
        now = self._counted()
        if now is None or self._began is None or self._before is None:
            return None
        return self._before + (now - self._began) / _MILLIJOULES_AN_HOUR_OF_A_WATT

    def go_on_from(self, watt_hours: float | None) -> None:
        """Add what an earlier attempt had drawn; None: nobody knows, and so the sum is not known either."""
        self._before = watt_hours

    def _counted(self) -> int | None:
        return self._read(pynvml.nvmlDeviceGetTotalEnergyConsumption)

    def _read(self, figure: Callable[[object], int]) -> int | None:
        """The sum of a figure, where all of them tell it."""
        if not self._handles or None in self._handles:
            return None
        try:
            return sum(figure(handle) for handle in self._handles if handle is not None)
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
