"""The speaking process: `python -m tunedeck_trainer.speaking <device>`.

It answers what its parent asks on standard input, one after the other, and keeps the model that it used last.
"""

import logging
import os
import queue
import sys
import threading
from contextlib import suppress

from tunedeck_chassis.imports import uncollected
from tunedeck_contracts.errors import Conflict, InternalError, TunedeckError, Unavailable
from tunedeck_contracts.failures import FailureCode
from tunedeck_contracts.message import Message
from tunedeck_trainer import failures
from tunedeck_trainer.speech_pipe import FallSilent, Refused, Speak, to_speaker

log = logging.getLogger("tunedeck")

NICENESS = 10
"""Beside a training that has all processors, it gets about a tenth of what one thread would."""

_MAY_PASS = {FailureCode.HUB_UNAVAILABLE, FailureCode.DISK_FULL}


class Questions:
    """What the parent asks, and what it does not want answered any more."""

    def __init__(self, descriptor: int) -> None:
        self.waiting: queue.Queue[Speak | None] = queue.Queue()
        self._descriptor = descriptor
        self._unwanted: set[str] = set()
        threading.Thread(target=self._listen, name="questions", daemon=True).start()

    def is_unwanted(self, stream_id: str) -> bool:
        """Whether nobody listens to this answer any more."""
        return stream_id in self._unwanted

    def answered(self, stream_id: str) -> None:
        """No more is said of it."""
        self._unwanted.discard(stream_id)

    def _listen(self) -> None:
        # os.read, not sys.stdin: a daemon thread that holds stdin's lock aborts the interpreter's exit.
        heard = b""
        while chunk := os.read(self._descriptor, 2**16):
            *lines, heard = (heard + chunk).split(b"\n")
            for line in lines:
                told = to_speaker(line)
                if isinstance(told, FallSilent):
                    self._unwanted.add(told.stream_id)
                else:
                    self.waiting.put(told)
        self.waiting.put(None)


def main() -> int:
    """Answer until the parent has closed standard input."""
    telling = os.dup(sys.stdout.fileno())
    # What a library prints would spoil what is told.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with suppress(OSError):
        os.nice(NICENESS)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(message)s")
    logging.captureWarnings(True)
    questions = Questions(sys.stdin.fileno())

    def tell(message: Message) -> None:
        line = memoryview(message.to_json() + b"\n")
        while line:
            line = line[os.write(telling, line) :]

    with uncollected():
        from tunedeck_trainer.voice import Voice

    voice = Voice(sys.argv[1], tell, questions.is_unwanted)
    while (asked := questions.waiting.get()) is not None:
        try:
            voice.answer(asked)
        except Exception as error:
            voice.forget()
            tell(Refused(stream_id=asked.stream_id, error=as_told(error).reply()))
        questions.answered(asked.stream_id)
    return 0


def as_told(error: Exception) -> TunedeckError:
    """What who asked is told of an error."""
    if isinstance(error, TunedeckError):
        return error
    found = failures.of_exception(error)
    if found.code is FailureCode.OUT_OF_MEMORY:
        log.warning("Out of memory: %s", error)
        return Unavailable(
            "The memory did not suffice for the model and this question; ask again when nothing trains, or "
            "with a shorter question or fewer new tokens."
        )
    if isinstance(error, failures.RunFailed):
        kind = Unavailable if found.code in _MAY_PASS else Conflict
        return kind(f"{found.detail} {found.hint}")
    log.error("No answer", exc_info=error)
    return InternalError("The model gave no answer for a reason of its own; the trainer's log has it.")


if __name__ == "__main__":
    sys.exit(main())
