"""The two bases of every message, and the types that several messages share."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
)
from pydantic.alias_generators import to_camel


def utc_now() -> datetime:
    """The time now, aware, cut to milliseconds as MongoDB keeps it."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _iso_z(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Timestamp = Annotated[AwareDatetime, PlainSerializer(_iso_z, return_type=str, when_used="json")]
"""An aware UTC time; on the wire ISO 8601 with milliseconds and a Z."""


def _text(value: Any) -> Any:
    if value is None or isinstance(value, str | datetime):
        return value
    raise ValueError("a time is a text by ISO 8601, with its zone")


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time is out of range in UTC") from None


GivenTime = Annotated[
    AwareDatetime,
    BeforeValidator(_text),
    AfterValidator(_in_utc),
    PlainSerializer(_iso_z, return_type=str, when_used="json"),
]
"""A time that a client has chosen: a text with its zone, and no number."""


class Message(BaseModel):
    """A message whose keys are snake_case on the wire. Unknown keys are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, serialize_by_alias=True)

    def to_json(self) -> bytes:
        """The bytes that travel, on the bus and to the HTTP client alike."""
        return self.model_dump_json().encode()


class CamelMessage(Message):
    """A message whose keys are camelCase on the wire, as api.md writes jobs and datasets."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)
