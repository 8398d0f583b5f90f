"""Hyperparameters: names, bounds, defaults, and the reversible uid of a set of them."""

import json
import zlib
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    Strict,
    StrictBool,
    StrictInt,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from tunedeck_contracts.message import Message

LONGEST_UID = 2000
"""Characters; the bounds of the fields keep every uid within it."""

_UID_PREFIX = "hp1"
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

ModulePattern = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[ -~]+$")]
ModuleName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.]+$")]

Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
"""A number of JSON: no text that looks like one, no truth value."""


class Hyperparameters(Message):
    """How one run is trained. `max_steps` wins over `epochs`."""

    learning_rate: Number = Field(
        default=2e-4,
        gt=0,
        le=1,
        description="Learning rate of the optimizer at its peak, after warm-up.",
    )
    batch_size: StrictInt = Field(
        default=8, ge=1, le=1024, description="Rows in one micro-batch, on each device."
    )
    gradient_accumulation_steps: StrictInt = Field(
        default=1, ge=1, le=1024, description="Micro-batches in one optimizer step."
    )
    epochs: StrictInt = Field(default=3, ge=1, le=1000, description="Passes over the training rows.")
    max_steps: StrictInt | None = Field(
        default=None, ge=1, le=10_000_000, description="Optimizer steps; wins over epochs."
    )
    warmup_steps: StrictInt = Field(
        default=0, ge=0, le=1_000_000, description="Steps of linear warm-up of the learning rate."
    )
    weight_decay: Number = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Weight decay: decoupled in adamw and adafactor, an L2 penalty in the others.",
    )
    scheduler: Literal["linear", "cosine", "constant"] = Field(
        default="cosine", description="The learning rate after warm-up."
    )
    optimizer: Literal["adamw", "sgd", "adafactor", "adagrad", "rmsprop"] = Field(
        default="adamw",
        description="What makes a step of a gradient; sgd is without momentum, adafactor takes learning_rate "
        "as it is.",
    )
    max_grad_norm: Number = Field(
        default=1.0, gt=0, le=1000, description="Gradients are clipped to this L2 norm."
    )
    max_length: StrictInt = Field(
        default=512, ge=8, le=131_072, description="Tokens of a row after which it is cut."
    )
    lora_r: StrictInt = Field(default=8, ge=1, le=512, description="LoRA rank.")
    lora_alpha: StrictInt = Field(
        default=16,
        ge=1,
        le=2048,
        description="LoRA scale; updates are scaled by alpha / r, with use_rslora by alpha / sqrt(r).",
    )
    lora_dropout: Number = Field(
        default=0.0, ge=0, lt=1, description="Dropout on the input of the LoRA matrices."
    )
    use_rslora: StrictBool = Field(
        default=False,
        description="Rank-stabilised LoRA: updates are scaled by lora_alpha / sqrt(lora_r), so that a higher "
        "rank does not learn more slowly. A learning rate that was found without it is too high with it.",
    )
    use_dora: StrictBool = Field(
        default=False,
        description="DoRA: the length of each weight's columns is trained beside their direction, which LoRA "
        "changes. Often better at low ranks, and slower.",
    )
    target_modules: ModulePattern | Annotated[list[ModuleName], Field(min_length=1, max_length=20)] = Field(
        default="all-linear",
        description="Modules that get LoRA matrices: 'all-linear', the ends of their names as a list, or a "
        "regular expression that a whole name matches.",
    )
    method: Literal["lora", "qlora", "full"] = Field(
        default="lora",
        description="What is trained: LoRA matrices beside the model; the same over a model in 4 bits, which "
        "needs a CUDA GPU and bitsandbytes (where no trainer has one a job is refused, unless its `device` "
        "is gpu); or the whole model.",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        description="Numbers that are computed in. auto: bf16 on a GPU that has it, else fp32. fp16 needs a "
        "GPU. Weights that are trained are kept in fp32. A GPU that has TF32 multiplies fp32 in it.",
    )
    seed: StrictInt = Field(
        default=42,
        ge=0,
        le=2**32 - 1,
        description="Seed of the split, the order of rows and the new weights.",
    )
    eval_steps: StrictInt = Field(
        default=10, ge=1, le=1_000_000, description="Optimizer steps between two evaluations."
    )
    save_steps: StrictInt | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Optimizer steps between two checkpoints, from which a run that was stopped goes on. "
        "Null: by time, so that about a minute's work is lost at most.",
    )
    validation_split: Number = Field(
        default=0.1, gt=0, lt=1, description="Share of the rows kept for validation."
    )
    validation_rows: StrictInt | None = Field(
        default=None, ge=1, le=100_000, description="Most rows kept for validation."
    )
    early_stopping_patience: StrictInt | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="Evaluations in a row without a lower validation loss after which training ends. The "
        "tuned model is of the step with the lowest one, here as always. Null: it never ends early.",
    )

    @field_validator("target_modules", mode="wrap")
    @classmethod
    def _one_sentence(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        # Of two kinds of value, neither of which it is, pydantic would tell the faults one by one.
        try:
            return validate(value)
        except ValidationError:
            raise ValueError(
                "Take 'all-linear', a list of 1 to 20 ends of modules' names, or a regular expression "
                "in ASCII of at most 500 characters."
            ) from None


class ChosenHyperparameters(Hyperparameters):
    """Settings as a client names them: fields that are given win over a uid, which stands for the rest."""

    uid: str | None = Field(
        default=None, min_length=1, max_length=LONGEST_UID, description="The uid of saved or former settings."
    )

    @property
    def given(self) -> set[str]:
        """The names of the settings that the client wrote itself."""
        return self.model_fields_set - {"uid"}

    @property
    def is_foreign(self) -> bool:
        """Whether the uid is none of ours."""
        return self.uid is not None and decode_uid(self.uid) is None

    def settings(self) -> Hyperparameters:
        """All of them. A foreign uid stands for the defaults."""
        base = decode_uid(self.uid) if self.uid is not None else None
        return (base or Hyperparameters()).model_copy(update=self.model_dump(include=self.given))


_LORA_ALONE = ("lora_r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "target_modules")


def unheeded(settings: Hyperparameters) -> list[str]:
    """A sentence for each setting that differs from its default and changes nothing in a run."""
    sentences = []
    if settings.method == "full":
        changed = settings.model_dump(exclude_defaults=True)
        sentences += [
            f"{name}: the method 'full' trains the whole model and has no LoRA matrices; it has no effect."
            for name in _LORA_ALONE
            if name in changed
        ]
    return sentences


def encode_uid(settings: Hyperparameters) -> str:
    """The uid of these settings: the same settings give the same uid.

    What differs from the defaults, as canonical JSON, deflated, read as one
    number in base 36. `decode_uid` is the inverse. A field that is added later
    changes no uid, as long as its default does what was done before it.
    """
    changed = settings.model_dump(mode="json", exclude_defaults=True)
    canonical = json.dumps(changed, sort_keys=True, separators=(",", ":")).encode()
    packed = b"\x01" + zlib.compress(canonical, 9)
    number = int.from_bytes(packed, "big")
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return _UID_PREFIX + digits


def decode_uid(uid: str) -> Hyperparameters | None:
    """The settings that a uid stands for, or None for a foreign uid."""
    digits = uid.removeprefix(_UID_PREFIX)
    if digits == uid or not digits.isalnum() or len(uid) > LONGEST_UID:
        return None
    try:
        number = int(digits, 36)
        packed = number.to_bytes((number.bit_length() + 7) // 8, "big")
        unpacked = zlib.decompressobj().decompress(packed[1:], 16_384)
        return Hyperparameters.model_validate_json(unpacked)
    except (ValueError, zlib.error, ValidationError):
        return None
