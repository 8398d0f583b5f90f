"""Real figures of this machine."""

from pathlib import Path

import psutil

from tunedeck_trainer.hardware import Hardware


def test_a_sample_is_this_machines(tmp_path: Path) -> None:
    sample = Hardware(tmp_path).sample(3)
    assert sample.iteration == 3
    assert sample.ram_total_gb == psutil.virtual_memory().total / 2**30
    assert 0 < sample.ram_used_gb < sample.ram_total_gb
    assert sample.gpu_count == len(sample.gpus)
    if not sample.gpus:
        assert (sample.gpu_percent, sample.vram_total_gb, sample.gpu_temp) == (0.0, 0.0, None)
    assert sample.network_in_mbps >= 0
