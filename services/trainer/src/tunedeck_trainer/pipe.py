"""What passes between the trainer and its training process: one JSON object a line.

The child tells over an inherited file descriptor; the parent commands over the child's standard input.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from tunedeck_contracts.estimates import Probed
from tunedeck_contracts.failures import Failure
from tunedeck_contracts.jobs import Phase, Result, Wanted
from tunedeck_contracts.message import Message, Timestamp
from tunedeck_contracts.runs import Run
from tunedeck_contracts.training import LossPoint

SPEC_FILE = "spec.json"
TUNED_FOLDER = "tuned"
CHECKPOINTS_FOLDER = "checkpoints"

MEETING_FILE = "TUNEDECK_MEETING_FILE"
"""The variable with the path of the file by which the processes of one run find each other."""


class Spec(Message):
    """What the child is to train, written to `spec.json` in its run's folder."""

    run: Run
    models_dir: Path
    rows_file: Path
    device: str = Field(description="'cpu' or 'cuda:<index>'.")
    devices: list[str] = Field(
        default=[], description="Of a run on several, each with a process of its own: all of them."
    )
    threads: int | None = None
    resume: Path | None = Field(default=None, description="The folder of the checkpoint to go on from.")
    checkpoint_seconds: float = Field(
        default=30.0, description="Time between two checkpoints where `save_steps` does not say."
    )


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


class CheckpointWritten(Message):
    """The state after a step is on disk, in a folder of `checkpoints` with the step's number as its name."""

    kind: Literal["checkpoint"] = "checkpoint"
    step: int
    iteration: int
    validation_loss: float | None = Field(
        description="The newest evaluation's; null before the first after a step."
    )
    created_at: Timestamp


class RunProbed(Message):
    """The probe found what the run will take, and how its batches fit."""

    kind: Literal["probed"] = "probed"
    probed: Probed


class Resumed(Message):
    """Training goes on from the checkpoint; its points follow."""

    kind: Literal["resumed"] = "resumed"


class CheckpointRefused(Message):
    """The checkpoint that was to be gone on from cannot be; the child has trained nothing and ends."""

    kind: Literal["refused"] = "refused"
    reason: str


class Stopped(Message):
    """The child stopped because that was wanted."""

    kind: Literal["stopped"] = "stopped"
    wanted: Literal[Wanted.PAUSE, Wanted.CANCEL]


class Finished(Message):
    """The child is done."""

    kind: Literal["finished"] = "finished"
    result: Result


class Failed(Message):
    """The child gave up and knows why."""

    kind: Literal["failed"] = "failed"
    failure: Failure


FromChild = (
    PhaseChanged
    | RunProbed
    | PointMade
    | CheckpointWritten
    | Resumed
    | CheckpointRefused
    | Stopped
    | Finished
    | Failed
)

Tell = Callable[[FromChild], None]

_FROM_CHILD: TypeAdapter[FromChild] = TypeAdapter(Annotated[FromChild, Field(discriminator="kind")])


def decode(line: bytes) -> FromChild:
    """A line of the child. Raises pydantic's ValidationError."""
    return _FROM_CHILD.validate_json(line)


class Command(Message):
    """What the parent wants of the child; the newest holds."""

    wanted: Wanted


class Teller:
    """The child's end of the pipe. Writing blocks while the parent has no room: that is the back-pressure.

    `place` is a descriptor of this process, or the path of one that its launcher has.
    """

    def __init__(self, place: str) -> None:
        self._descriptor = int(place) if place.isdecimal() else os.open(place, os.O_WRONLY)

    def __call__(self, message: FromChild) -> None:
        """Send one message."""
        line = memoryview(message.to_json() + b"\n")
        while line:
            line = line[os.write(self._descriptor, line) :]


@dataclass(frozen=True)
class Wishes:
    """What is wanted of the child, heeded at its next step boundary."""

    cancelled: threading.Event = field(default_factory=threading.Event)
    paused: threading.Event = field(default_factory=threading.Event)

    def heed(self, wanted: Wanted) -> None:
        """A pause can be taken back, a cancel cannot."""
        if wanted is Wanted.CANCEL:
            self.cancelled.set()
        elif wanted is Wanted.PAUSE:
            self.paused.set()
        else:
            self.paused.clear()


def heed_commands(descriptor: int, wishes: Wishes) -> None:
    """Hear the parent's commands on this descriptor from now on, beside what the process does."""

    def listen() -> None:
        # os.read, not sys.stdin: a daemon thread that holds stdin's lock aborts the interpreter's exit.
        heard = b""
        while chunk := os.read(descriptor, 4096):
            *lines, heard = (heard + chunk).split(b"\n")
            for line in lines:
                wishes.heed(Command.model_validate_json(line).wanted)

    threading.Thread(target=listen, name="commands", daemon=True).start()
