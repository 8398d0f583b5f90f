"""Presets: hyperparameters under a name."""

from pydantic import Field

from tunedeck_contracts.hyperparameters import LONGEST_UID, ChosenHyperparameters, Hyperparameters
from tunedeck_contracts.message import CamelMessage, Message, Timestamp


class SavePreset(CamelMessage):
    """Settings to keep under a name. A name that was saved before gets the new settings."""

    name: str = Field(min_length=1, max_length=200, description="What people call them.")
    description: str = Field(default="", max_length=4000, description="What they are for.")
    hyperparameters: ChosenHyperparameters

    def to_json(self) -> bytes:
        # What was not given is not sent: it is what the uid says, not the default.
        return self.model_dump_json(exclude_unset=True).encode()


class Preset(CamelMessage):
    """Settings with their uid. Where nobody saved them under a name, `name` is null."""

    uid: str = Field(description="The same for the same settings, whatever their name.")
    name: str | None
    description: str
    built_in: bool = Field(description="Comes with every installation; its name cannot be saved anew.")
    saved_at: Timestamp | None = Field(description="When it was last saved; null unless a client saved it.")
    hyperparameters: Hyperparameters


class ListPresets(Message):
    """Every preset."""


class PresetList(Message):
    """What `GET /api/hyperparameters` answers: the built-in ones, then those saved last, at most 1,000."""

    presets: list[Preset]


class GetHyperparameters(Message):
    """What a uid stands for, and under which name it was saved first."""

    uid: str = Field(min_length=1, max_length=LONGEST_UID)
