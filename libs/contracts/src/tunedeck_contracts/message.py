"""The two bases of every message, and the types that several messages share."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, PlainSerializer
from pydantic.alias_generators import to_camel


def utc_now() -> datetime:
    """The time now, aware, cut to milliseconds as MongoDB keeps it."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _iso_z(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Timestamp = Annotated[AwareDatetime, PlainSerializer(_iso_z, return_type=str, when_used="json")]
"""An aware UTC time; on the wire ISO 8601 with milliseconds and a Z."""


class Message(BaseModel):
    """A message whose keys are snake_case on the wire. Unknown keys are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, serialize_by_alias=True)

    def to_json(self) -> bytes:
        """The bytes that travel, on the bus and to the HTTP client alike."""
        return self.model_dump_json().encode()


class CamelMessage(Message):
    """A message whose keys are camelCase on the wire, as api.md writes jobs and datasets."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)
