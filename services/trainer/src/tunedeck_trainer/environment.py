"""On what a run computes: what its losses depend on beside its settings and rows."""

import platform
from importlib.metadata import version
from pathlib import Path

import torch

from tunedeck_contracts.artifacts import Environment

_PACKAGES = ("tunedeck-trainer", "torch", "transformers", "tokenizers", "accelerate", "safetensors")
_PACKAGES_OF = {"lora": ("peft",), "qlora": ("peft", "bitsandbytes"), "full": ()}
_CPUINFO = Path("/proc/cpuinfo")


def environment(method: str, on_gpu: bool, processes: int) -> Environment:
    """What this process computes on, as one of the `processes` of its run."""
    libc = " ".join(platform.libc_ver())
    return Environment(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()} {libc}".strip(),
        processor=f"{_processor()} ({torch.backends.cpu.get_cpu_capability()})",
        device=torch.cuda.get_device_name() if on_gpu else "cpu",
        threads=torch.get_num_threads(),
        processes=processes,
        packages={name: version(name) for name in (*_PACKAGES, *_PACKAGES_OF[method])},
    )


def _processor() -> str:
    if _CPUINFO.is_file():
        for line in _CPUINFO.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
