"""What a run computes on: the device that it is for, or none."""

from pathlib import Path

import pytest
import torch

from tests.unit.trainer.child_runs import a_run, write_rows
from tests.unit.trainer.test_estimating import question
from tunedeck_contracts.failures import FailureCode
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_trainer.estimating import estimate
from tunedeck_trainer.failures import RunFailed
from tunedeck_trainer.pipe import Spec, Wishes
from tunedeck_trainer.precision import is_gpu
from tunedeck_trainer.process import environment
from tunedeck_trainer.recipe import fine_tune


@pytest.fixture
def without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_a_gpu_that_torch_cannot_use_is_refused_and_not_replaced_by_the_cpu(without_cuda: None) -> None:
    assert not is_gpu("cpu")
    with pytest.raises(
        RunFailed, match=r"device is cuda:1, but its torch .*driver.*TUNEDECK_DEVICES"
    ) as failed:
        is_gpu("cuda:1")
    assert failed.value.code == FailureCode.DEVICE_UNAVAILABLE


def test_neither_a_run_nor_an_estimate_for_it_begins(
    without_cuda: None, models_dir: Path, tmp_path: Path
) -> None:
    write_rows(tmp_path / "rows.jsonl", 4)
    spec = Spec(
        run=a_run(Hyperparameters()),
        models_dir=models_dir,
        rows_file=tmp_path / "rows.jsonl",
        device="cuda:0",
    )
    with pytest.raises(RunFailed, match="The trainer's device is cuda:0"):
        fine_tune(spec, tmp_path, lambda _: None, Wishes())
    asked = question(tmp_path, models_dir, spec.run.model.uid).model_copy(update={"device": "cuda:0"})
    with pytest.raises(RunFailed, match="The trainer's device is cuda:0"):
        estimate(asked)


def test_a_child_counts_gpus_as_nvml_does() -> None:
    given = environment("cuda:1", "cuda:0")
    assert (given["CUDA_DEVICE_ORDER"], given["CUDA_VISIBLE_DEVICES"]) == ("PCI_BUS_ID", "1,0")
