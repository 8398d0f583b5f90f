"""Why a run ended badly: an exception or a dead process, as a code, a sentence and a hint."""

import errno
import signal

from tunedeck_contracts.failures import Failure, FailureCode, failure
from tunedeck_contracts.runs import Outcome

# A fault of the process itself; any other signal comes from outside.
_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE}
_SAYS_DISK_FULL = (
    "No space left on device",
    "database or disk is full",
    "code: 28",
    "PytorchStreamWriter failed",
    "unexpected pos",
)
_SAYS_NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "CUDA out of memory",
    "out of memory",
    "std::bad_alloc",
)


class RunFailed(Exception):
    """A failure with a known code, raised where it is found; `row` is the number of a row at fault."""

    def __init__(self, code: FailureCode, detail: str, row: int | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.row = row


class Cancelled(Exception):
    """The run was told to stop."""


class Paused(Exception):
    """The run was told to stop where it can go on later."""


class PeerLost(Exception):
    """Another process of a run on several devices is gone; whoever launched them knows why."""


def of_exception(error: BaseException) -> Failure:
    """Classify what the training process raised. Names torch's error without importing torch."""
    detail = f"{type(error).__name__}: {error}"
    if isinstance(error, RunFailed):
        return failure(error.code, str(error), error.row)
    number = error.errno if isinstance(error, OSError) else None
    is_runtime = isinstance(error, RuntimeError)
    no_memory = isinstance(error, MemoryError) or number == errno.ENOMEM
    if no_memory or (is_runtime and any(words in detail for words in _SAYS_NO_MEMORY)):
        return failure(FailureCode.OUT_OF_MEMORY, f"Training ran out of memory. {detail}")
    if number in (errno.ENOSPC, errno.EDQUOT) or any(words in detail for words in _SAYS_DISK_FULL):
        return failure(FailureCode.DISK_FULL, f"The trainer's disk is full. {detail}")
    return failure(FailureCode.CRASH, f"Training raised {detail}")


def outcome_of(failure: Failure) -> Outcome:
    """A run that failed by what may pass by itself is one of the job's attempts; any other fails the job."""
    return Outcome.LOST if failure.code is FailureCode.HUB_UNAVAILABLE else Outcome.FAILED


def of_exit(returncode: int, killed_for_memory: bool, last_lines: list[str]) -> Failure | None:
    """Classify a process that died without a word; None when it was ended from outside.

    `returncode` is negative for a signal, as asyncio gives it.
    """
    if killed_for_memory:
        return failure(
            FailureCode.OUT_OF_MEMORY, "The system ended the training process: there was no memory left."
        )
    if returncode >= 0:
        sentence = f"The training process ended with status {returncode}."
        return failure(FailureCode.CRASH, _with_lines(sentence, last_lines))
    if -returncode in _FAULTS:
        name = signal.Signals(-returncode).name
        return failure(FailureCode.CRASH, _with_lines(f"The training process died of {name}.", last_lines))
    return None


def _with_lines(sentence: str, lines: list[str]) -> str:
    return f"{sentence} Its last words: {' | '.join(lines)}" if lines else sentence
