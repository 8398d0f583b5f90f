"""How much memory the training process may still take, and how much it has taken at most."""

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import torch

from tunedeck_trainer import memory

# The machine does other things too.
_SHARE_OF_FREE = 0.95
_PROCESS = Path("/proc/self")
_LIMITED = {resource.RLIMIT_DATA: "VmData", resource.RLIMIT_AS: "VmSize"}


class MemoryUse:
    """Of a CPU the process's resident memory, by the kernel; of a GPU what torch has reserved on it.

    `processes`: how many of the run share the machine's memory; each has its own GPU.
    """

    def __init__(self, on_gpu: bool, processes: int = 1) -> None:
        self._on_gpu = on_gpu
        self._processes = processes

    @property
    def free(self) -> int:
        """Bytes that the process may take beyond what it has now."""
        if self._on_gpu:
            cached = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
            return int(torch.cuda.mem_get_info()[0] + cached)
        share = int(_SHARE_OF_FREE * memory.free_bytes() / self._processes)
        return max(0, min([share, *_left_by_limits()]))

    @property
    def available(self) -> int:
        """Bytes that the process may have in all."""
        return self.free + (int(torch.cuda.memory_allocated()) if self._on_gpu else taken("VmRSS"))

    @property
    def peak(self) -> int:
        """Most bytes at once since `forget_peak`."""
        return int(torch.cuda.max_memory_reserved()) if self._on_gpu else taken("VmHWM")

    def forget_peak(self) -> None:
        """Measure from now on; where the kernel does not allow it, loading stays part of the peak."""
        if self._on_gpu:
            torch.cuda.reset_peak_memory_stats()
            return
        with contextlib.suppress(OSError):
            (_PROCESS / "clear_refs").write_text("5")

    @contextlib.contextmanager
    def limited(self) -> Iterator[None]:
        """Have what does not fit raise.

        A GPU's allocator does so by itself. Linux promises more memory than there is, and ends the process
        when it is used; under a limit the allocation is refused instead.
        """
        if self._on_gpu:
            yield
            return
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = taken("VmData") + self.free
        resource.setrlimit(resource.RLIMIT_DATA, (_lower(most, soft), hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))

    def release(self) -> None:
        """Give back what nothing refers to any more."""
        if self._on_gpu:
            torch.cuda.empty_cache()


def _left_by_limits() -> Iterator[int]:
    for limit, counted in _LIMITED.items():
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY:
            yield soft - taken(counted)


def _lower(wanted: int, limit: int) -> int:
    return wanted if limit == resource.RLIM_INFINITY else min(wanted, limit)


def taken(name: str) -> int:
    """Bytes of this process, by a line of the kernel's table: VmRSS, VmHWM, VmData or VmSize."""
    lines = (_PROCESS / "status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
