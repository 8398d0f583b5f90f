"""Text from a job's tuned model or from its base: what is asked, and what is told while the model speaks.

Who asks chooses the stream's id and listens on its core subject first, so that nothing is missed. Nobody
keeps what is told there: `seq` counts it without a hole, and who finds one has lost something. Where nobody
listens any more, the trainer stops.
"""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, FiniteFloat, Strict, StrictBool, StrictInt, model_validator

from tunedeck_contracts.errors import ErrorReply
from tunedeck_contracts.message import Message

MOST_CHARACTERS = 100_000
MOST_MESSAGES = 200
MOST_NEW_TOKENS = 4096
LONGEST_SECONDS = 600.0

COLDEST = 0.01
"""A lower temperature counts as 0: scores divided by it leave the range of numbers."""

ALIVE_SECONDS = 2.0
"""How often a trainer says on each of its streams that it lives."""

SILENCE_SECONDS = 15.0
"""A trainer that is not heard for so long is taken for dead."""

Number = Annotated[FiniteFloat, Strict()]
Text = Annotated[str, Field(max_length=MOST_CHARACTERS)]


class ChatMessage(Message):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"] = Field(description="Who speaks.")
    content: Text = Field(description="What is said.")


class GenerateText(Message):
    """What `POST /api/jobs/{uid}/generate` takes: a `prompt`, or `messages`."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["prompt"], "properties": {"prompt": {"type": "string"}}},
                {"required": ["messages"], "properties": {"messages": {"type": "array"}}},
            ]
        }
    )

    prompt: Text | None = Field(
        default=None, description="A question, put to the model as the inputs of its training rows were."
    )
    messages: list[ChatMessage] | None = Field(
        default=None,
        min_length=1,
        max_length=MOST_MESSAGES,
        description="A conversation; a system's message comes first and a user's last. A model without a "
        "chat template takes one user's message alone.",
    )
    max_new_tokens: StrictInt = Field(
        default=256,
        ge=1,
        le=MOST_NEW_TOKENS,
        description="Most tokens of the answer; fewer where the model reads no more.",
    )
    temperature: Number = Field(
        default=0.0,
        ge=0,
        le=2,
        description="0, or less than 0.01, takes the likeliest token each time, so that the same question "
        "gets the same answer.",
    )
    top_p: Number = Field(
        default=1.0,
        gt=0,
        le=1,
        description="With a temperature: draw among the likeliest tokens that have this probability "
        "together; a `top_k` of the model's own settings holds too.",
    )
    seed: StrictInt | None = Field(
        default=None, ge=0, lt=2**63, description="With a temperature: the same seed draws the same tokens."
    )
    adapter: StrictBool = Field(
        default=True, description="The tuned model, LoRA or full; false asks the base model that was tuned."
    )
    max_seconds: Number = Field(
        default=60.0,
        gt=0,
        le=LONGEST_SECONDS,
        description="Time for the answer, from when the model is loaded; waiting for its turn does not "
        "count.",
    )

    @model_validator(mode="after")
    def _is_one_question(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give either `prompt` or `messages`")
        roles = [message.role for message in self.messages or []]
        if roles and roles[-1] != "user":
            raise ValueError("the last of `messages` is a user's")
        if "system" in roles[1:]:
            raise ValueError("only the first of `messages` may be the system's")
        if sum(len(message.content) for message in self.messages or []) > MOST_CHARACTERS:
            raise ValueError(f"`messages` have more than {MOST_CHARACTERS:,} characters together")
        return self


class StartGeneration(Message):
    """Ask a trainer for text. Listen on the subject of `stream_id` first."""

    job_uid: str
    stream_id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="One of `ids.new_stream_id`.")
    asked: GenerateText


class GenerationStarted(Message):
    """The request is taken; what follows is told on the stream's subject."""

    stream_id: str
    position: int = Field(description="In the line of those that wait; 0 when its turn is now.")


class QueuePosition(Message):
    """The request waits for its turn."""

    position: int = Field(ge=1, description="1 is next.")
    waits_for: Literal["requests", "training", "memory"] = Field(
        description="Requests before it; the end of a training run that has the GPU; or free memory."
    )


class GeneratedToken(Message):
    """One token. The texts of all, one after the other, are the answer."""

    index: int = Field(ge=0, description="Counts the tokens of the answer.")
    id: int = Field(description="Its number in the model's vocabulary.")
    text: str = Field(
        description="Empty for a token that holds only a part of a character, which comes with the token "
        "that ends it."
    )


class GenerationEnd(Message):
    """The answer is over."""

    reason: Literal["stop", "length", "time"] = Field(
        description="The model has ended its turn; `max_new_tokens` or the model's own length is reached; or "
        "`max_seconds` are over."
    )
    tokens: int = Field(description="Of the answer, without the one that ends it.")
    prompt_tokens: int = Field(description="Of the question, as the model has read it.")
    seconds: float = Field(description="From when the model was loaded.")


class GenerationEventType(StrEnum):
    """What a stream tells."""

    QUEUED = "queued"
    TOKEN = "token"
    END = "end"
    ERROR = "error"
    ALIVE = "alive"

    @property
    def cloudevent_type(self) -> str:
        """The CloudEvents type, with its version."""
        return f"dev.tunedeck.generation.{self.value}.v1"


class GenerationEvent(Message):
    """One event of a stream, with what belongs to its type. `end` and `error` are its last."""

    stream_id: str
    seq: int = Field(
        ge=0,
        description="Counts the events from 1; of `alive`, which tells nothing, that of the last before.",
    )
    type: GenerationEventType
    queued: QueuePosition | None = None
    token: GeneratedToken | None = None
    end: GenerationEnd | None = None
    error: ErrorReply | None = None
