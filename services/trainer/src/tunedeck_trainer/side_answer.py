"""The other end of `side_process.py`: `python -m tunedeck_trainer.side_answer <module>`.

A question on standard input, the answer of the module's `main` on standard output.
"""

import logging
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import TypeVar

from tunedeck_chassis.imports import uncollected
from tunedeck_contracts.message import Message
from tunedeck_trainer import failures

Question = TypeVar("Question", bound=Message)


def answer(question: type[Question], work: Callable[[Question], Message]) -> int:
    """Answer the question, or say as a `Failure` why not; the process's exit status, 1 for a failure."""
    telling = os.dup(sys.stdout.fileno())
    # What a library prints would spoil the answer.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(message)s")
    logging.captureWarnings(True)
    status = 0
    try:
        told: Message = work(question.model_validate_json(sys.stdin.buffer.read()))
    except Exception as error:
        if not isinstance(error, failures.RunFailed):
            logging.getLogger("tunedeck").exception("No answer")
        told, status = failures.of_exception(error), 1
    with os.fdopen(telling, "wb") as opened:
        opened.write(told.to_json())
    return status


if __name__ == "__main__":
    with uncollected():
        _module = import_module(sys.argv[1])
    sys.exit(_module.main())
