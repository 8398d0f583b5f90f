"""Before the first step: what does not fit is split otherwise, and nothing else is changed by the looking."""

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unit.trainer.child_runs import MODEL, a_run, write_rows
from tests.unit.trainer.probe_runs import Ran, ran
from tests.unit.trainer.resume_runs import GPT2
from tunedeck_contracts.estimates import BatchSplit, Probed, Range
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_trainer import batch_splits, data, memory, quoting
from tunedeck_trainer.energy import EnergyMeter
from tunedeck_trainer.failures import RunFailed
from tunedeck_trainer.loop import TokenTrainer
from tunedeck_trainer.memory_use import MemoryUse
from tunedeck_trainer.model_loading import prepare_model
from tunedeck_trainer.pipe import FromChild, RunProbed, Spec, Wishes
from tunedeck_trainer.points import Points
from tunedeck_trainer.probing import Probe, measured
from tunedeck_trainer.ranks import ALONE, Ranks
from tunedeck_trainer.recipe import build_trainer, training_arguments
from tunedeck_trainer.tokenizer_loading import load_tokenizer

MIB = 2**20
ORDERED = [9, 8, 7, 7, 6, 5, 5, 4, 3, 2]
SETTINGS = Hyperparameters(max_steps=2, batch_size=16, eval_steps=2, learning_rate=1e-2)


@pytest.fixture(scope="module")
def unsplit(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Ran:
    return ran(tmp_path_factory.mktemp("unsplit") / "run", models_dir, SETTINGS)


class InThisProcess:
    """A probe with the run's own parts; `faulty` stands before the loss."""

    def __init__(
        self,
        folder: Path,
        models_dir: Path,
        settings: Hyperparameters,
        model: str = MODEL,
        ranks: Ranks = ALONE,
    ) -> None:
        self.settings = settings
        self._ranks = ranks
        self.spec = Spec(
            run=a_run(settings, model), models_dir=models_dir, rows_file=folder / "rows.jsonl", device="cpu"
        )
        write_rows(self.spec.rows_file, 30)
        self._folder = folder
        self._tokenizer = load_tokenizer(models_dir / model)
        self._prepared = data.prepare(self.spec.rows_file, self._tokenizer, settings)
        self.model = prepare_model(models_dir / model, settings, torch.float32, False)
        self.tried: list[BatchSplit] = []
        self.told: list[FromChild] = []
        self.faulty: Callable[[], None] = lambda: None

    def trainer_of(self, split: BatchSplit) -> TokenTrainer:
        self.tried.append(split)
        arguments = training_arguments(
            batch_splits.applied(split, self.settings), self._folder, False, torch.float32
        )
        points = Points(self.told.append, threading.Event(), EnergyMeter("cpu"))
        trainer = build_trainer(
            self.model,
            self._tokenizer,
            self._prepared,
            arguments,
            points,
            threading.Event(),
            ranks=self._ranks,
        )
        computed = trainer.compute_loss

        def compute_loss(*given: Any, **named: Any) -> Any:
            self.faulty()
            return computed(*given, **named)

        trainer.compute_loss = compute_loss  # type: ignore[method-assign]
        return trainer

    def fitted(self) -> TokenTrainer:
        probe = Probe(self.trainer_of, MemoryUse(False), EnergyMeter("cpu"), Wishes())
        return probe.fitted(self.spec, self.told.append, lambda: 1.0)


def test_what_does_not_fit_is_halved_and_learns_the_same(
    tmp_path: Path, models_dir: Path, unsplit: Ran
) -> None:
    assert unsplit.split is None and unsplit.probed is not None
    limited = ran(tmp_path / "limited", models_dir, SETTINGS, room=48 * MIB)
    split = limited.split
    assert split is not None, limited.raised
    assert split.micro_batch_size <= SETTINGS.batch_size // 2
    assert split.micro_batch_size * split.gradient_accumulation_steps == SETTINGS.batch_size
    assert "did not fit" in split.reason and "memory" in split.reason
    assert limited.losses == pytest.approx(unsplit.losses, abs=1e-5)
    assert limited.validation_losses == pytest.approx(unsplit.validation_losses, abs=1e-5)
    assert limited.result is not None and unsplit.result is not None
    assert limited.result.peak_memory_bytes is not None and unsplit.result.peak_memory_bytes is not None
    assert limited.result.peak_memory_bytes < unsplit.result.peak_memory_bytes


def test_a_later_attempt_takes_the_split_and_does_not_search(
    tmp_path: Path, models_dir: Path, unsplit: Ran
) -> None:
    assert unsplit.probed is not None
    again = BatchSplit(micro_batch_size=8, gradient_accumulation_steps=2, gradient_checkpointing=True)
    known = Probed(predicted=unsplit.probed.predicted, split=again)
    later = ran(tmp_path / "later", models_dir, SETTINGS, known=known)
    assert ("probing" in unsplit.phases, "probing" in later.phases) == (True, False)
    assert later.probed is None
    assert later.losses == pytest.approx(unsplit.losses, abs=1e-5)
    assert later.result is not None and unsplit.result is not None
    assert later.result.peak_memory_bytes is not None and unsplit.result.peak_memory_bytes is not None
    assert later.result.peak_memory_bytes < unsplit.result.peak_memory_bytes


def test_a_later_attempt_with_less_memory_than_was_needed_tries_that_again(
    tmp_path: Path, models_dir: Path, unsplit: Ran
) -> None:
    assert unsplit.probed is not None
    too_much = Range(low=2**60, expected=2**60, high=2**60)
    predicted = unsplit.probed.predicted.model_copy(update={"peak_memory_bytes": too_much})
    split = BatchSplit(micro_batch_size=8, gradient_accumulation_steps=2)
    later = ran(tmp_path / "later", models_dir, SETTINGS, known=Probed(predicted=predicted, split=split))
    assert later.phases.count("probing") == 1
    assert later.probed is not None and later.probed.split == split, "it begins with the known one"
    assert later.probed.predicted.fits
    assert later.losses == pytest.approx(unsplit.losses, abs=1e-5)


def test_a_run_with_a_probe_is_bit_for_bit_the_one_without(tmp_path: Path, gpt2_dir: Path) -> None:
    """Of a model whose steps draw random numbers, trained wholly."""
    settings = Hyperparameters(
        max_steps=4, batch_size=4, eval_steps=2, learning_rate=1e-2, method="full", max_length=64
    )
    probed = ran(tmp_path / "probed", gpt2_dir, settings, model="gpt2", rows=26)
    assert probed.probed is not None, probed.raised
    without = ran(tmp_path / "without", gpt2_dir, settings, model="gpt2", rows=26, known=probed.probed)
    assert without.probed is None
    assert (probed.losses, probed.validation_losses) == (without.losses, without.validation_losses)


@pytest.mark.parametrize(
    ("method", "optimizer"),
    [("lora", "adamw"), *(("full", one) for one in ("adamw", "sgd", "adafactor", "adagrad", "rmsprop"))],
)
def test_the_probe_changes_no_weight_and_no_random_state(
    tmp_path: Path, gpt2_dir: Path, method: Any, optimizer: Any
) -> None:
    settings = Hyperparameters(
        method=method, optimizer=optimizer, batch_size=4, weight_decay=0.1, lora_dropout=0.1
    )
    here = InThisProcess(tmp_path, gpt2_dir, settings, GPT2)
    before = {name: one.clone() for name, one in here.model.state_dict().items()}
    here.trainer_of(batch_splits.as_asked(settings))
    states = torch.get_rng_state(), random.getstate()
    trainer = here.fitted()
    # Making a trainer seeds anew, here as in a run without a probe.
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    after = here.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(one.grad is None for one in here.model.parameters())
    assert trainer.optimizer is None


def test_when_nothing_is_left_the_failure_says_what_to_change(tmp_path: Path, models_dir: Path) -> None:
    settings = Hyperparameters(batch_size=6, gradient_accumulation_steps=2)
    here = InThisProcess(tmp_path, models_dir, settings)

    def no_memory() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB.")

    here.faulty = no_memory
    with pytest.raises(RunFailed, match="Lower max_length") as raised:
        here.fitted()
    assert raised.value.code == "out_of_memory"
    sizes = [
        (one.micro_batch_size, one.gradient_accumulation_steps, one.gradient_checkpointing)
        for one in here.tried
    ]
    assert sizes == [(6, 2, False), (3, 4, False), (1, 12, False), (1, 12, True)]
    assert not any(isinstance(one, RunProbed) for one in here.told)


def test_an_error_that_is_not_for_memory_is_not_searched_around(tmp_path: Path, models_dir: Path) -> None:
    here = InThisProcess(tmp_path, models_dir, SETTINGS)

    def broken() -> None:
        raise RuntimeError("shape mismatch")

    here.faulty = broken
    with pytest.raises(RuntimeError, match="shape mismatch"):
        here.fitted()
    assert len(here.tried) == 1


def test_every_smaller_split_has_the_same_rows_a_step_and_the_search_ends() -> None:
    for size in range(1, 40):
        for accumulation in (1, 2, 3, 7):
            split: BatchSplit | None = BatchSplit(
                micro_batch_size=size, gradient_accumulation_steps=accumulation
            )
            seen = 0
            while split is not None:
                assert split.micro_batch_size * split.gradient_accumulation_steps == size * accumulation
                following = batch_splits.smaller(split, "why")
                if following is not None and split.micro_batch_size > 1:
                    assert following.micro_batch_size <= split.micro_batch_size // 2
                split, seen = following, seen + 1
            assert seen <= 8


@pytest.mark.parametrize(("size", "index"), [(5, 0), (5, 1), (1, 1)])
def test_a_process_of_several_counts_what_it_computes(
    tmp_path: Path, models_dir: Path, size: int, index: int
) -> None:
    settings = Hyperparameters(batch_size=size)
    here = InThisProcess(tmp_path, models_dir, settings, ranks=Ranks(index, 2))
    trainer = here.trainer_of(batch_splits.as_asked(settings))
    computed, sizes = trainer.compute_loss, []

    def compute_loss(model: Any, inputs: dict[str, torch.Tensor]) -> Any:
        sizes.append(inputs["input_ids"].numel())
        return computed(model, inputs)

    trainer.compute_loss = compute_loss  # type: ignore[method-assign, assignment]
    found = measured(trainer, MemoryUse(False, processes=2), EnergyMeter("cpu"))
    assert [found.longest.tokens, found.middle.tokens] == sizes[1:]


def test_what_others_of_the_container_have_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 100 * MIB)
    assert MemoryUse(False).free == 95 * MIB
    assert MemoryUse(False, processes=2).free == 95 * MIB // 2


def test_a_quote_counts_the_runs_own_rows() -> None:
    settings = Hyperparameters(
        batch_size=2, gradient_accumulation_steps=2, epochs=2, eval_steps=3, early_stopping_patience=1
    )
    work = quoting.work_of(settings, ORDERED, validation=[3, 5, 4])
    assert (work.steps, work.fewest_steps, work.evaluations) == (6, 3, 3)
    assert (work.read_tokens, work.padded_tokens) == (2 * 56, 2 * 2 * (9 + 7 + 6 + 5 + 3))
    assert work.padded_validation_tokens == 2 * 5 + 4
    whole = quoting.work_of(settings.model_copy(update={"max_steps": 9}), ORDERED, [3])
    assert (whole.steps, whole.read_tokens) == (9, 3 * 56)
    # An epoch begins with longer rows than it has on average, in batches that are padded by themselves.
    for steps, read, padded in (
        (1, 31, 2 * (9 + 7)),
        (2, 51, 2 * (9 + 7 + 6 + 5)),
        (4, 87, 2 * (30 + 9 + 7)),
    ):
        part = quoting.work_of(settings.model_copy(update={"max_steps": steps}), ORDERED, [3])
        assert (part.steps, part.read_tokens, part.padded_tokens) == (steps, read, padded)

    found = quoting.Measured(
        longest=quoting.Pass(tokens=18, forward=0.36, backward=0.36, optimizer=0.5),
        middle=quoting.Pass(tokens=10, forward=0.1, backward=0.2, optimizer=0.25),
        peak=1000,
        available=2000,
        watts=360.0,
    )
    grounds = quoting.Grounds("By hand.", seconds=(0.5, 2.0), memory=(0.9, 1.5))
    quote = quoting.quoted("cpu", found, work, grounds, elapsed=3.0)
    usual = 120 * 0.03 + 6 * 0.25 + 3 * 14 * 0.01
    slow = 120 * 0.04 + 6 * 0.25 + 3 * 14 * 0.04 / 3
    assert quote.seconds.expected == pytest.approx(3 + usual)
    assert (quote.seconds.low, quote.seconds.high) == pytest.approx((3 + 0.5 * usual / 2, 3 + 2 * slow))
    assert (quote.tokens.low, quote.tokens.expected) == (56, 112)
    assert (quote.peak_memory_bytes.low, quote.peak_memory_bytes.high) == (900, 1500)
    assert quote.energy_watt_hours is not None
    assert quote.energy_watt_hours.expected == pytest.approx(usual / 10)
    low, high = quote.energy_watt_hours.low, quote.energy_watt_hours.high
    # From less power for the shortest time to more for the longest, without the preparation.
    assert (low, high) == pytest.approx((0.5 * 0.5 * usual / 2 / 10, 1.2 * 2 * slow / 10))
