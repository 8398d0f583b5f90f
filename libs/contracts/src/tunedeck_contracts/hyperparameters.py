"""Hyperparameters: names, bounds, defaults, and the reversible uid of a set of them."""

import json
import zlib
from typing import Literal

from pydantic import Field, ValidationError

from tunedeck_contracts.message import Message

_UID_PREFIX = "hp1"
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_LONGEST_UID = 2000


class Hyperparameters(Message):
    """How one run is trained. `max_steps` wins over `epochs`."""

    learning_rate: float = Field(
        default=2e-4, gt=0, le=1, allow_inf_nan=False, description="Peak learning rate of AdamW."
    )
    batch_size: int = Field(default=8, ge=1, le=1024, description="Rows in one micro-batch.")
    gradient_accumulation_steps: int = Field(
        default=1, ge=1, le=1024, description="Micro-batches in one optimizer step."
    )
    epochs: int = Field(default=3, ge=1, le=1000, description="Passes over the training rows.")
    max_steps: int | None = Field(
        default=None, ge=1, le=10_000_000, description="Optimizer steps; wins over epochs."
    )
    warmup_steps: int = Field(
        default=0, ge=0, le=1_000_000, description="Steps of linear warm-up of the learning rate."
    )
    weight_decay: float = Field(
        default=0.0, ge=0, le=1, allow_inf_nan=False, description="AdamW's decoupled weight decay."
    )
    scheduler: Literal["linear", "cosine", "constant"] = Field(
        default="cosine", description="The learning rate after warm-up."
    )
    max_grad_norm: float = Field(
        default=1.0, gt=0, le=1000, allow_inf_nan=False, description="Gradients are clipped to this L2 norm."
    )
    max_length: int = Field(
        default=512, ge=8, le=131_072, description="Tokens of a row after which it is cut."
    )
    lora_r: int = Field(default=8, ge=1, le=512, description="LoRA rank.")
    lora_alpha: int = Field(
        default=16, ge=1, le=2048, description="LoRA scale; updates are scaled by alpha / r."
    )
    lora_dropout: float = Field(
        default=0.0, ge=0, lt=1, allow_inf_nan=False, description="Dropout on the input of the LoRA matrices."
    )
    target_modules: str | list[str] = Field(
        default="all-linear", description="Modules that get LoRA matrices."
    )
    method: Literal["lora"] = Field(default="lora", description="What is trained.")
    seed: int = Field(
        default=42,
        ge=0,
        le=2**32 - 1,
        description="Seed of the split, the order of rows and the new weights.",
    )
    eval_steps: int = Field(
        default=10, ge=1, le=1_000_000, description="Optimizer steps between two evaluations."
    )
    validation_split: float = Field(
        default=0.1, gt=0, lt=1, allow_inf_nan=False, description="Share of the rows kept for validation."
    )
    validation_rows: int | None = Field(
        default=None, ge=1, le=100_000, description="Most rows kept for validation."
    )


def encode_uid(settings: Hyperparameters) -> str:
    """The uid of these settings: the same settings give the same uid.

    What differs from the defaults, as canonical JSON, deflated, read as one
    number in base 36. `decode_uid` is the inverse.
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
    if digits == uid or not digits.isalnum() or len(uid) > _LONGEST_UID:
        return None
    try:
        number = int(digits, 36)
        packed = number.to_bytes((number.bit_length() + 7) // 8, "big")
        unpacked = zlib.decompressobj().decompress(packed[1:], 16_384)
        return Hyperparameters.model_validate_json(unpacked)
    except (ValueError, zlib.error, ValidationError):
        return None
