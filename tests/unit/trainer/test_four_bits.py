"""The method qlora with the real bitsandbytes: it trains as LoRA over what the 4 bits stand for."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
BITSANDBYTES = Path(sys.prefix) / "four-bits"
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("four_bits")
    child = subprocess.run(
        [sys.executable, "-m", "tests.unit.trainer.four_bit_runs", folder],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(BITSANDBYTES)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    found: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return found


def test_every_linear_layer_is_in_four_bits_whose_scales_are_quantised_too(ran: dict[str, Any]) -> None:
    assert [name.split(".")[-2] for name in ran["layers"]] == list(LINEAR) * 2
    assert all(kind == ["nf4", True] for kind in ran["layers"].values())


@pytest.mark.parametrize(("precision", "slack"), [("fp32", 1e-5), ("bf16", 2e-3)])
def test_it_trains_as_over_the_numbers_that_they_stand_for(
    ran: dict[str, Any], precision: str, slack: float
) -> None:
    four, exact = ran[f"qlora {precision}"], ran[f"lora {precision}"]
    for name in ("train", "validation"):
        assert four[name] == pytest.approx(exact[name], rel=slack)
    assert four["after"] < four["before"] - 0.1
    assert ran["lora over the model"]["before"] != pytest.approx(four["before"], rel=1e-5), (
        "these are other numbers than the model's"
    )


def test_its_manifest_names_the_package(ran: dict[str, Any]) -> None:
    manifest = ran["qlora fp32"]["manifest"]
    assert manifest["method"] == "qlora"
    assert "bitsandbytes" in manifest["environment"]["packages"]
    assert "bitsandbytes" not in ran["lora fp32"]["manifest"]["environment"]["packages"]
