"""What passes between the trainer and its speaking process: a JSON object a line, by standard streams."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from tunedeck_contracts.errors import ErrorReply
from tunedeck_contracts.generation import GeneratedToken, GenerateText, GenerationEnd
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.message import Message
from tunedeck_contracts.models import ResolvedModel


class Speak(Message):
    """Answer this; one is said at a time."""

    kind: Literal["speak"] = "speak"
    stream_id: str
    job_uid: str
    model: ResolvedModel
    hyperparameters: Hyperparameters
    models_dir: Path
    tuned: Path | None = Field(description="The folder of the tuned model; None for its base.")
    asked: GenerateText
    threads: int | None = Field(description="CPU threads; None for as many as torch takes.")


class FallSilent(Message):
    """Nobody listens to this answer any more."""

    kind: Literal["silent"] = "silent"
    stream_id: str


class Began(Message):
    """The model is loaded and has the question."""

    kind: Literal["began"] = "began"
    stream_id: str


class Said(Message):
    """The next token."""

    kind: Literal["said"] = "said"
    stream_id: str
    token: GeneratedToken


class Ended(Message):
    """The answer is over."""

    kind: Literal["ended"] = "ended"
    stream_id: str
    end: GenerationEnd


class NoRoom(Message):
    """There is less memory free than the model takes; nothing was loaded."""

    kind: Literal["no_room"] = "no_room"
    stream_id: str
    needed_bytes: int
    free_bytes: int


class Refused(Message):
    """It cannot be answered."""

    kind: Literal["refused"] = "refused"
    stream_id: str
    error: ErrorReply


ToSpeaker = Speak | FallSilent
FromSpeaker = Began | Said | Ended | NoRoom | Refused

_TO_SPEAKER: TypeAdapter[ToSpeaker] = TypeAdapter(Annotated[ToSpeaker, Field(discriminator="kind")])
_FROM_SPEAKER: TypeAdapter[FromSpeaker] = TypeAdapter(Annotated[FromSpeaker, Field(discriminator="kind")])


def to_speaker(line: bytes) -> ToSpeaker:
    """A line of the parent. Raises pydantic's ValidationError."""
    return _TO_SPEAKER.validate_json(line)


def from_speaker(line: bytes) -> FromSpeaker:
    """A line of the speaking process. Raises pydantic's ValidationError."""
    return _FROM_SPEAKER.validate_json(line)
