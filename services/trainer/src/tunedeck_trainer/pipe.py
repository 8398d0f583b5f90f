"""What passes between the trainer and its training process: one JSON object a line.

The child tells over an inherited file descriptor; the parent commands over the child's standard input.
"""

import os
import threading
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from tunedeck_contracts.jobs import Failure, Phase, Result
from tunedeck_contracts.message import Message
from tunedeck_contracts.runs import Run
from tunedeck_contracts.training import LossPoint

SPEC_FILE = "spec.json"
TUNED_FOLDER = "tuned"


class Spec(Message):
    """What the child is to train, written to `spec.json` in its run's folder."""

    run: Run
    models_dir: Path
    rows_file: Path
    device: str = Field(description="'cpu' or 'cuda:<index>'.")
    threads: int | None = None


class PhaseChanged(Message):
    """The run entered a phase."""

    kind: Literal["phase"] = "phase"
    phase: Phase


class PointMade(Message):
    """One optimizer step is done."""

    kind: Literal["point"] = "point"
    point: LossPoint
    total_steps: int
    total_epochs: int


class Finished(Message):
    """The child is done: with a result, or without one because it was cancelled."""

    kind: Literal["finished"] = "finished"
    result: Result | None


class Failed(Message):
    """The child gave up and knows why."""

    kind: Literal["failed"] = "failed"
    failure: Failure


FromChild = PhaseChanged | PointMade | Finished | Failed

_FROM_CHILD: TypeAdapter[FromChild] = TypeAdapter(Annotated[FromChild, Field(discriminator="kind")])

CANCEL = b'{"command":"cancel"}\n'


def decode(line: bytes) -> FromChild:
    """A line of the child. Raises pydantic's ValidationError."""
    return _FROM_CHILD.validate_json(line)


class Teller:
    """The child's end of the pipe. Writing blocks while the parent has no room: that is the back-pressure."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __call__(self, message: FromChild) -> None:
        """Send one message."""
        line = memoryview(message.to_json() + b"\n")
        while line:
            line = line[os.write(self._descriptor, line) :]


def cancel_on_command(descriptor: int) -> threading.Event:
    """An event that is set when the parent sends the cancel command to this descriptor."""
    cancelled = threading.Event()

    def listen() -> None:
        # os.read, not sys.stdin: a daemon thread that holds stdin's lock aborts the interpreter's exit.
        heard = b""
        while chunk := os.read(descriptor, 4096):
            heard += chunk
            if CANCEL in heard:
                cancelled.set()
                return

    threading.Thread(target=listen, name="commands", daemon=True).start()
    return cancelled
