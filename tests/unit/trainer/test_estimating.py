"""What a job would take: by two layers of its model, for all of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unit.trainer.child_runs import a_run, write_rows
from tests.unit.trainer.resume_runs import GPT2
from tunedeck_contracts.errors import Conflict
from tunedeck_contracts.estimates import Estimate
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.jobs import Status
from tunedeck_contracts.plans import Plan
from tunedeck_trainer import estimating, failures, probing, quoting, side_process
from tunedeck_trainer.energy import EnergyMeter
from tunedeck_trainer.estimate_question import EstimateQuestion
from tunedeck_trainer.failures import RunFailed
from tunedeck_trainer.loop import TokenTrainer
from tunedeck_trainer.memory_use import MemoryUse
from tunedeck_trainer.model_config import load_config
from tunedeck_trainer.model_loading import in_any_layer
from tunedeck_trainer.quoting import Measured, Pass


def question(folder: Path, models_dir: Path, model: str, **settings: object) -> EstimateQuestion:
    run = a_run(Hyperparameters.model_validate(settings), model)
    rows_file = folder / "rows.jsonl"
    write_rows(rows_file, 30)
    plan = Plan(
        job_uid="",
        model=run.model,
        dataset=run.dataset,
        hyperparameters=run.hyperparameters,
        status=Status.CREATED,
    )
    return EstimateQuestion(plan=plan, models_dir=models_dir, rows_file=rows_file, device="cpu", threads=1)


def test_a_quote_without_the_weights(tmp_path: Path, gpt2_dir: Path) -> None:
    config = tmp_path / "models" / GPT2
    config.mkdir(parents=True)
    for file in (gpt2_dir / GPT2).iterdir():
        if file.suffix != ".safetensors":
            (config / file.name).write_bytes(file.read_bytes())
    asked = question(tmp_path, tmp_path / "models", GPT2, batch_size=4, max_steps=6, max_length=64)
    quote = estimating.estimate(asked)
    assert quote.device == "cpu" and quote.fits
    assert quote.step_seconds is not None
    assert 6 * quote.step_seconds.expected < quote.seconds.expected
    for figure in (quote.seconds, quote.step_seconds, quote.peak_memory_bytes, quote.tokens):
        assert 0 < figure.low <= figure.expected <= figure.high
    assert 10_000_000 < quote.peak_memory_bytes.expected < quote.available_memory_bytes
    read = quote.tokens.expected
    assert 6 * 4 * 20 < read <= 6 * 4 * 64
    whole, twice = (
        estimating.estimate(question(tmp_path, tmp_path / "models", GPT2, batch_size=4, epochs=epochs)).tokens
        for epochs in (1, 2)
    )
    assert read < whole.expected == twice.expected / 2


def test_what_the_second_layer_adds_each_further_one_adds() -> None:
    def measured(layers: int) -> Measured:
        one = Pass(tokens=10, forward=1.0 + layers, backward=2.0 * layers, optimizer=0.5)
        return Measured(longest=one, middle=one, peak=100 + 10 * layers, available=1000)

    assert estimating.extended(measured(1), measured(2), 30) == measured(30)
    quicker = Measured(longest=measured(1).longest, middle=measured(1).middle, peak=90, available=1000)
    assert estimating.extended(measured(1), quicker, 30) == quicker, "no layer takes less than none"


def test_what_a_run_would_refuse_is_refused(tmp_path: Path, gpt2_dir: Path) -> None:
    for settings, says in (
        ({"method": "qlora"}, "needs a CUDA GPU"),
        ({"target_modules": "no_such_module"}, "target_modules do not fit"),
        ({"max_length": 8}, "two different rows"),
    ):
        with pytest.raises(RunFailed, match=says):
            estimating.estimate(question(tmp_path, gpt2_dir, GPT2, **settings))


def test_target_modules_of_a_later_layer_are_quoted_as_those_of_any(tmp_path: Path, gpt2_dir: Path) -> None:
    config = load_config(gpt2_dir / GPT2)
    for modules in (r".*\.h\.1\.attn\.c_attn", ["1.attn.c_attn"], r".*attn\.c_attn"):
        asked = question(tmp_path, gpt2_dir, GPT2, max_steps=2, target_modules=modules)
        of_any = in_any_layer(config, asked.plan.hyperparameters)
        assert of_any.target_modules == ["attn.c_attn"]
        assert estimating.estimate(asked).tokens.expected > 0


def let_fit(monkeypatch: pytest.MonkeyPatch, rows: int) -> list[tuple[int, int, bool]]:
    """Have no micro-batch fit that is larger; the tries of two layers or less, as they come."""
    tried: list[tuple[int, int, bool]] = []
    really = probing.measured

    def measured(trainer: TokenTrainer, memory: MemoryUse, energy: EnergyMeter) -> Measured:
        size, steps = trainer.args.train_batch_size, trainer.args.gradient_accumulation_steps
        tried.append((size, steps, trainer.model.is_activation_checkpointing))
        if size > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB.")
        return really(trainer, memory, energy)

    monkeypatch.setattr(probing, "measured", measured)
    return tried


def test_batches_that_do_not_fit_are_quoted_as_they_would_be_split(
    tmp_path: Path, gpt2_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = question(tmp_path, gpt2_dir, GPT2, batch_size=8, max_steps=2)
    whole = estimating.estimate(asked)
    tried = let_fit(monkeypatch, 2)
    quote = estimating.estimate(asked)
    assert tried == [(8, 1, False), (4, 2, False), (2, 4, False), (2, 4, False)]
    assert "split into 4 micro-batches of 2 for each step" in quote.basis and "split" not in whole.basis
    assert quote.tokens == whole.tokens, "the same rows a step"


@pytest.mark.parametrize(("gibibytes", "split"), [(3, (2, 4, False)), (0.5, (1, 8, True))])
def test_what_would_not_fit_by_what_two_layers_take_is_split_too_and_told_where_that_is_not_enough(
    tmp_path: Path,
    gpt2_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    gibibytes: float,
    split: tuple[int, int, bool],
) -> None:
    tried: list[tuple[int, int, bool]] = []
    really = probing.measured

    def measured(trainer: TokenTrainer, memory: MemoryUse, energy: EnergyMeter) -> Measured:
        size, steps = trainer.args.train_batch_size, trainer.args.gradient_accumulation_steps
        tried.append((size, steps, trainer.model.is_activation_checkpointing))
        # Of each row a GiB.
        peak = int((size if not tried[-1][2] else 0.9) * 2**30)
        return replace(really(trainer, memory, energy), peak=peak, available=int(gibibytes * 2**30))

    monkeypatch.setattr(probing, "measured", measured)
    quote = estimating.estimate(question(tmp_path, gpt2_dir, GPT2, batch_size=8, max_steps=2))
    assert tried[-1] == split
    assert quote.fits is (gibibytes == 3)
    assert ("does not fit into what is free here now" in quote.basis) is not quote.fits


def test_where_the_gpu_tells_its_power_the_energy_of_all_processes_is_quoted(
    tmp_path: Path, gpt2_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = probing.measured

    def measured(trainer: TokenTrainer, memory: MemoryUse, energy: EnergyMeter) -> Measured:
        return replace(really(trainer, memory, energy), watts=100.0)

    monkeypatch.setattr(probing, "measured", measured)
    watts: list[float | None] = []
    quoted = quoting.quoted

    def noted(device: str, found: Measured, *others: Any) -> Estimate:
        watts.append(found.watts)
        return quoted(device, found, *others)

    monkeypatch.setattr(quoting, "quoted", noted)
    asked = question(tmp_path, gpt2_dir, GPT2, max_steps=2)
    for processes in (1, 2):
        quote = estimating.estimate(asked.model_copy(update={"processes": processes}))
        assert quote.energy_watt_hours is not None and quote.energy_watt_hours.expected > 0
    assert watts == [100.0, 200.0]


def test_what_fits_in_no_split_is_a_failure_of_the_job_that_says_what_to_change(
    tmp_path: Path, gpt2_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = let_fit(monkeypatch, 0)
    with pytest.raises(RunFailed, match=r"^The job does not fit .* Lower max_length") as raised:
        estimating.estimate(question(tmp_path, gpt2_dir, GPT2, batch_size=2))
    assert raised.value.code == "bad_settings"
    assert tried == [(2, 1, False), (1, 2, False), (1, 2, True)]
    refused = side_process.refusal(failures.of_exception(raised.value))
    assert isinstance(refused, Conflict), "asking again alone would not help"


def test_an_error_that_is_not_for_memory_is_not_searched_around(
    tmp_path: Path, gpt2_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[TokenTrainer] = []

    def broken(trainer: TokenTrainer, memory: MemoryUse, energy: EnergyMeter) -> Measured:
        tried.append(trainer)
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(probing, "measured", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        estimating.estimate(question(tmp_path, gpt2_dir, GPT2, batch_size=2))
    assert len(tried) == 1
