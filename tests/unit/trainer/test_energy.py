"""What GPUs draw, by an NVML that counts as it is told to: this machine need not have one."""

import threading
from types import SimpleNamespace

import pynvml
import pytest

from tunedeck_trainer import energy
from tunedeck_trainer.energy import EnergyMeter
from tunedeck_trainer.points import Points

JOULE = 1000
"""NVML counts millijoules, and milliwatts of power."""


class Nvml:
    """Two GPUs that count their energy since the driver was loaded."""

    def __init__(self) -> None:
        self.energy = {0: 7_000_000 * JOULE, 1: 50 * JOULE}
        self.power = {0: 300_500, 1: 99_500}
        self.failing = ""
        self.begun = False

    def begin(self) -> None:
        self._check("init")
        self.begun = True

    def handle(self, index: int) -> str:
        assert self.begun
        if index not in self.energy:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return f"gpu {index}"

    def counted(self, handle: str) -> int:
        self._check("energy")
        return self.energy[int(handle.removeprefix("gpu "))]

    def drawn(self, handle: str) -> int:
        self._check("power")
        return self.power[int(handle.removeprefix("gpu "))]

    def _check(self, figure: str) -> None:
        if self.failing == figure:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    made = Nvml()
    monkeypatch.setattr(pynvml, "nvmlInit", made.begin)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", made.handle)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", made.counted)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetPowerUsage", made.drawn)
    return made


def test_two_gpus_are_counted_together_from_when_the_meter_is_made(nvml: Nvml) -> None:
    meter = EnergyMeter("cuda:0", "cuda:1")
    assert (meter.watt_hours, meter.lap()) == (0.0, 400.0)
    nvml.energy[0] += 3600 * JOULE
    nvml.energy[1] += 1800 * JOULE
    assert meter.watt_hours == pytest.approx(1.5)


def test_a_lap_is_the_power_on_average_and_a_short_one_that_of_now(
    nvml: Nvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter((100.0, 102.0, 102.1, 103.1))
    monkeypatch.setattr(energy.time, "perf_counter", lambda: next(now))
    meter = EnergyMeter("cuda:0", "cuda:1")
    nvml.energy[0] += 900 * JOULE
    nvml.energy[1] += 100 * JOULE
    assert meter.lap() == pytest.approx(500.0)
    assert meter.lap() == 400.0
    nvml.energy[0] += 250 * JOULE
    assert meter.lap() == pytest.approx(250.0)


def test_another_gpu_of_the_machine_does_not_count(nvml: Nvml) -> None:
    meter = EnergyMeter("cuda:1")
    nvml.energy[0] += 3600 * JOULE
    nvml.energy[1] += 7200 * JOULE
    assert meter.watt_hours == pytest.approx(2.0)
    assert meter.lap() == 99.5
    assert EnergyMeter("cuda").lap() == 300.5, "without an index it is the first"


@pytest.mark.parametrize(
    ("failing", "energy_is_known", "power_is_known"),
    [("init", False, False), ("energy", False, True), ("power", True, False)],
)
def test_what_nvml_does_not_tell_is_null(
    nvml: Nvml, failing: str, energy_is_known: bool, power_is_known: bool
) -> None:
    nvml.failing = failing
    meter = EnergyMeter("cuda:0", "cuda:1")
    assert (meter.watt_hours is not None, meter.lap() is not None) == (energy_is_known, power_is_known)


def test_a_counter_that_fails_later_leaves_no_figure(nvml: Nvml) -> None:
    meter = EnergyMeter("cuda:0")
    nvml.failing = "energy"
    assert meter.watt_hours is None


def test_where_one_device_tells_nothing_the_sum_is_not_known(nvml: Nvml) -> None:
    for devices in (("cuda:0", "cuda:2"), ("cuda:0", "cpu"), ("cpu",), ()):
        meter = EnergyMeter(*devices)
        assert (meter.watt_hours, meter.lap()) == (None, None), devices


def attempt(*devices: str) -> tuple[Points, EnergyMeter]:
    meter = EnergyMeter(*devices)
    points = Points(lambda _: None, threading.Event(), meter)
    points.trainer = SimpleNamespace(trained_tokens=0)
    return points, meter


def test_an_attempt_that_goes_on_adds_to_what_the_one_before_had_drawn(nvml: Nvml) -> None:
    first, _ = attempt("cuda:0")
    nvml.energy[0] += 3600 * JOULE
    handed_on = first.progress
    # What is drawn after the checkpoint is for steps that are done again, or is not the job's.
    nvml.energy[0] += 7200 * JOULE
    second, meter = attempt("cuda:0")
    second.go_on_from(handed_on)
    nvml.energy[0] += 1800 * JOULE
    assert meter.watt_hours == pytest.approx(1.5)
    assert second.progress.watt_hours == pytest.approx(1.5)


def test_energy_that_one_attempt_did_not_know_is_not_known_of_the_job(nvml: Nvml) -> None:
    on_a_cpu, _ = attempt("cpu")
    second, meter = attempt("cuda:0")
    second.go_on_from(on_a_cpu.progress)
    assert meter.watt_hours is None
