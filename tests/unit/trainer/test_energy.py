"""What GPUs draw, by an NVML that counts as it is told to: this machine need not have one."""

import threading
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from tests.unit.trainer.child_runs import a_run, write_rows
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_trainer import energy, recipe
from tunedeck_trainer.checkpointing import Progress
from tunedeck_trainer.energy import EnergyMeter
from tunedeck_trainer.pipe import Spec, Wishes
from tunedeck_trainer.points import Points
from tunedeck_trainer.training_record import LOG

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


class Counted(EnergyMeter):
    """A meter of one GPU that has drawn so many watt-hours more whenever it is read."""

    step = 0
    total = 0

    def _counted(self) -> int:
        Counted.total += self.step * 3600 * JOULE
        return Counted.total


def test_a_run_that_goes_on_ends_with_the_energy_of_both_attempts(
    tmp_path: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "EnergyMeter", Counted)
    settings = Hyperparameters(max_steps=3, batch_size=4, save_steps=1)
    write_rows(tmp_path / "rows.jsonl", 30)

    def ran(folder: Path, resume: Path | None) -> float | None:
        folder.mkdir()
        (folder / LOG).touch()
        rows = tmp_path / "rows.jsonl"
        spec = Spec(run=a_run(settings), models_dir=models_dir, rows_file=rows, device="cpu", resume=resume)
        return recipe.fine_tune(spec, folder, lambda _: None, Wishes()).energy_watt_hours

    monkeypatch.setattr(Counted, "step", 1)
    ran(tmp_path / "first", None)
    checkpoint = tmp_path / "first" / "checkpoints" / "2"
    drawn = Progress.model_validate_json((checkpoint / "progress.json").read_bytes()).watt_hours
    assert drawn is not None and drawn > 0
    monkeypatch.setattr(Counted, "step", 0)
    assert ran(tmp_path / "second", checkpoint) == drawn
