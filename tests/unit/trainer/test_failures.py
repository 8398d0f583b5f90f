"""How a dead or failing process is classified."""

import errno
import signal

import pytest

from tunedeck_contracts.failures import FailureCode, failure
from tunedeck_contracts.runs import Outcome
from tunedeck_trainer import failures


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), "out_of_memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
        (failures.RunFailed("bad_data", "Row 3 is no object."), "bad_data"),
        (ZeroDivisionError("division by zero"), "crash"),
    ],
)
def test_an_exception_has_a_code_and_a_hint(error: Exception, code: str) -> None:
    failure = failures.of_exception(error)
    assert failure.code == code
    assert failure.hint
    assert str(error) in failure.detail


def test_a_fault_of_the_process_is_a_crash_with_its_last_words() -> None:
    failure = failures.of_exit(-signal.SIGSEGV, False, ["Segmentation fault"])
    assert failure is not None
    assert (failure.code, "SIGSEGV" in failure.detail, "Segmentation" in failure.detail) == (
        "crash",
        True,
        True,
    )


def test_a_status_without_a_word_is_a_crash() -> None:
    failure = failures.of_exit(3, False, [])
    assert failure is not None
    assert "3" in failure.detail


@pytest.mark.parametrize("code", FailureCode)
def test_only_a_hub_that_is_away_costs_an_attempt_and_not_the_job(code: FailureCode) -> None:
    expected = Outcome.LOST if code is FailureCode.HUB_UNAVAILABLE else Outcome.FAILED
    assert failures.outcome_of(failure(code)) is expected


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_from_outside_is_no_failure_of_the_job(number: signal.Signals) -> None:
    assert failures.of_exit(-number, False, []) is None


def test_a_kill_for_memory_is_one() -> None:
    failure = failures.of_exit(-signal.SIGKILL, True, [])
    assert failure is not None
    assert failure.code == "out_of_memory"
