"""Presets of hyperparameters: the built-in ones, and those that clients save."""

from datetime import datetime

from tunedeck_catalog.repository.presets import PresetRepository
from tunedeck_contracts.errors import Conflict, FieldProblem, NotFound
from tunedeck_contracts.hyperparameters import Hyperparameters, decode_uid, encode_uid
from tunedeck_contracts.message import utc_now
from tunedeck_contracts.presets import Preset, PresetList, SavePreset

MAX_PRESETS = 1000


def preset(
    settings: Hyperparameters,
    name: str | None = None,
    description: str = "",
    *,
    built_in: bool = False,
    saved_at: datetime | None = None,
) -> Preset:
    """Settings with the uid that belongs to them."""
    return Preset(
        uid=encode_uid(settings),
        name=name,
        description=description,
        built_in=built_in,
        saved_at=saved_at,
        hyperparameters=settings,
    )


BUILT_IN = (
    preset(
        Hyperparameters(max_steps=30, batch_size=4, max_length=128, validation_rows=32),
        "Quick trial on a CPU",
        "Thirty steps on short rows: minutes on a laptop, enough to see the loss fall.",
        built_in=True,
    ),
    preset(
        Hyperparameters(),
        "LoRA",
        "What a job gets that sets nothing: rank 8 on every linear layer, three epochs, cosine.",
        built_in=True,
    ),
    preset(
        Hyperparameters(
            learning_rate=1e-4,
            gradient_accumulation_steps=4,
            epochs=10,
            warmup_steps=50,
            weight_decay=0.01,
            lora_r=16,
            lora_alpha=32,
            lora_dropout=0.05,
            eval_steps=25,
            early_stopping_patience=5,
        ),
        "LoRA, long and careful",
        "Twice the rank, small steps with warm-up and dropout; ends when five evaluations bring nothing.",
        built_in=True,
    ),
    preset(
        Hyperparameters(
            method="qlora",
            batch_size=4,
            gradient_accumulation_steps=4,
            warmup_steps=20,
            lora_r=16,
            lora_alpha=32,
        ),
        "QLoRA on one GPU",
        "A large model in 4 bits under LoRA matrices; needs a CUDA GPU and bitsandbytes.",
        built_in=True,
    ),
    preset(
        Hyperparameters(
            method="full",
            learning_rate=2e-5,
            batch_size=4,
            gradient_accumulation_steps=4,
            warmup_steps=50,
            weight_decay=0.01,
        ),
        "Whole model",
        "Trains every weight and keeps a model of its own; takes several times the model's memory.",
        built_in=True,
    ),
)


class Presets:
    """Lists, saves and finds settings."""

    def __init__(self, repository: PresetRepository) -> None:
        self._repository = repository

    async def list(self) -> PresetList:
        """The built-in ones, then those saved last."""
        return PresetList(presets=[*BUILT_IN, *await self._repository.newest(MAX_PRESETS)])

    async def save(self, message: SavePreset) -> Preset:
        """Keep settings under a name; a name that was saved before gets the new ones.

        Raises:
            Conflict: the name is a built-in preset's.
            NotFound: the settings name a foreign uid.
        """
        if any(one.name == message.name for one in BUILT_IN):
            raise Conflict(f"The preset {message.name!r} is built in; save yours under another name.")
        if message.hyperparameters.uid is not None and message.hyperparameters.is_foreign:
            raise foreign(message.hyperparameters.uid, "hyperparameters.uid")
        settings = message.hyperparameters.settings()
        saved = preset(settings, message.name, message.description, saved_at=utc_now())
        await self._repository.save(saved)
        return saved

    async def get(self, uid: str) -> Preset:
        """What a uid stands for, under the name that it was saved first, if it was.

        Raises:
            NotFound: it is a foreign one.
        """
        settings = decode_uid(uid)
        if settings is None:
            raise foreign(uid, "uid")
        known = next((one for one in BUILT_IN if one.hyperparameters == settings), None)
        # Asked by the uid that settings have now: a client may write a longer one that decodes to the same.
        return known or await self._repository.oldest(encode_uid(settings)) or preset(settings)


def foreign(uid: str, path: str) -> NotFound:
    """The error for a uid that stands for no settings."""
    sentence = (
        f"The hyperparameters {uid!r} are not known here; GET /api/hyperparameters lists what is saved."
    )
    return NotFound(sentence, [FieldProblem(loc=path, message=sentence)])
