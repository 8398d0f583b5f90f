"""Questions about a job, each answered by a short-lived process beside training.

The trainer itself never imports torch, and its child may be busy. A module that answers has a
`main`, which reads its question and writes its answer through `side_answer.py`.
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog
from pydantic import ValidationError

from tunedeck_contracts.errors import Conflict, InternalError, TunedeckError, Unavailable
from tunedeck_contracts.failures import Failure, FailureCode
from tunedeck_contracts.message import Message
from tunedeck_trainer import failures
from tunedeck_trainer.process import die_with, ended, environment, started

Rep = TypeVar("Rep", bound=Message)

log = structlog.get_logger()

# When memory or time is short, training has it.
_OOM_SCORE = 1000
_NICENESS = 10
_LAST_WORDS = 10

NO_MEMORY = "The trainer has no memory for this beside what it trains; ask again when it is less busy."

_OF_THE_JOB = {
    FailureCode.BAD_DATA,
    FailureCode.BAD_SETTINGS,
    FailureCode.MODEL_NOT_FOUND,
    FailureCode.GATED_MODEL,
    FailureCode.USER_CODE,
}
_MAY_PASS = {FailureCode.HUB_UNAVAILABLE, FailureCode.DISK_FULL}


class SideProcesses:
    """One at a time: each takes the memory of torch, beside a training that has the machine's."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(1)

    async def ask(self, module: str, question: Message, reply: type[Rep], device: str = "cpu") -> Rep:
        """What the module answers. Whoever cancels this ends the process; it has no time limit of its own.

        Raises:
            Conflict: the job cannot be trained as it is.
            Unavailable: there was no memory, no Hub, or the process was ended from outside.
            InternalError: a defect of the module.
        """
        async with self._turn:
            process = await started(_asked(module, device))
            try:
                answer, printed = await process.communicate(question.to_json())
            finally:
                await ended(process)
        assert process.returncode is not None
        if process.returncode == 0:
            return reply.model_validate_json(answer)
        lines = printed.decode("utf-8", "replace").splitlines()[-_LAST_WORDS:]
        log.warning("side_process_failed", module=module, status=process.returncode, lines=lines)
        raise _why_not(process.returncode, answer)


def _asked(module: str, device: str) -> Coroutine[Any, Any, Process]:
    return asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tunedeck_trainer.side_answer", module),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,
        env=environment(device),
        preexec_fn=_step_back(die_with(os.getpid(), _OOM_SCORE)),
    )


def _step_back(prepare: Callable[[], None]) -> Callable[[], None]:
    def prepared() -> None:
        prepare()
        os.nice(_NICENESS)

    return prepared


def _why_not(status: int, answer: bytes) -> TunedeckError:
    try:
        found = Failure.model_validate_json(answer)
    except ValidationError:
        return _of_death(status)
    return refusal(found)


def refusal(found: Failure) -> TunedeckError:
    """What somebody who asked is told of a failure."""
    if found.code is FailureCode.OUT_OF_MEMORY:
        return Unavailable(NO_MEMORY)
    sentence = f"{found.detail} {found.hint}"
    if found.code in _OF_THE_JOB:
        return Conflict(sentence)
    return Unavailable(sentence) if found.code in _MAY_PASS else _defect()


def _of_death(status: int) -> TunedeckError:
    if status == -signal.SIGKILL:
        return Unavailable(NO_MEMORY)
    if status < 0 and failures.of_exit(status, False, []) is None:
        return Unavailable("The trainer's process for this was ended from outside; ask again.")
    return _defect()


def _defect() -> InternalError:
    return InternalError("The trainer's process for this failed; the trainer's log has its last words.")
