"""Why a run ended badly: an exception or a dead process, as a code, a sentence and a hint."""

import errno
import signal
from pathlib import Path

from tunedeck_contracts.jobs import Failure

OUT_OF_MEMORY = "out_of_memory"
BAD_DATA = "bad_data"
BAD_SETTINGS = "bad_settings"
MODEL_NOT_FOUND = "model_not_found"
HUB_UNAVAILABLE = "hub_unavailable"
NOT_FINITE = "not_finite"
DISK_FULL = "disk_full"
CRASH = "crash"

HINTS = {
    OUT_OF_MEMORY: "Lower batch_size or max_length; gradient_accumulation_steps keeps the effective batch.",
    BAD_DATA: "Check the dataset's rows, and max_length if answers are cut away.",
    BAD_SETTINGS: "Change the hyperparameter that the message names.",
    MODEL_NOT_FOUND: "Check the model's id, and that its files are there as safetensors.",
    HUB_UNAVAILABLE: "Check the trainer's way to the Hub (HF_ENDPOINT, HF_TOKEN) and create the job again.",
    NOT_FINITE: "Lower learning_rate, or add warmup_steps.",
    DISK_FULL: "Free space on the trainer's disk and create the job again.",
    CRASH: "The job's log has the last lines of the training process.",
}

# A fault of the process itself; any other signal comes from outside.
_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE}
_CPU_ALLOCATOR = "DefaultCPUAllocator: can't allocate memory"
_LONGEST_DETAIL = 2000


class RunFailed(Exception):
    """A failure with a known code, raised where it is found."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Cancelled(Exception):
    """The run was told to stop."""


def failure(code: str, detail: str) -> Failure:
    """A failure with the hint that belongs to its code."""
    return Failure(code=code, detail=detail[:_LONGEST_DETAIL], hint=HINTS[code])


def of_exception(error: BaseException) -> Failure:
    """Classify what the training process raised. Names torch's error without importing torch."""
    detail = f"{type(error).__name__}: {error}"
    if isinstance(error, RunFailed):
        return failure(error.code, str(error))
    torch_says = type(error).__name__ == "OutOfMemoryError" or _CPU_ALLOCATOR in detail
    if isinstance(error, MemoryError) or torch_says:
        return failure(OUT_OF_MEMORY, f"Training ran out of memory. {detail}")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return failure(DISK_FULL, f"The trainer's disk is full. {detail}")
    return failure(CRASH, f"Training raised {detail}")


def of_exit(returncode: int, killed_for_memory: bool, last_lines: list[str]) -> Failure | None:
    """Classify a process that died without a word; None when it was ended from outside.

    `returncode` is negative for a signal, as asyncio gives it.
    """
    if killed_for_memory:
        return failure(OUT_OF_MEMORY, "The system ended the training process: there was no memory left.")
    if returncode >= 0:
        sentence = f"The training process ended with status {returncode}."
        return failure(CRASH, _with_lines(sentence, last_lines))
    if -returncode in _FAULTS:
        name = signal.Signals(-returncode).name
        return failure(CRASH, _with_lines(f"The training process died of {name}.", last_lines))
    return None


def oom_kills() -> int:
    """How many processes the kernel has killed for memory since boot, here or in this container."""
    files = (Path("/proc/vmstat"), Path("/sys/fs/cgroup/memory.events"))
    return sum(_counter(file, "oom_kill") for file in files)


def _counter(file: Path, name: str) -> int:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), 0)


def _with_lines(sentence: str, lines: list[str]) -> str:
    return f"{sentence} Its last words: {' | '.join(lines)}" if lines else sentence
