"""Settings of the gateway."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from tunedeck_chassis.settings import IntakeSettings
from tunedeck_gateway.access.origins import host_name

_DEVELOPMENT_PORTS = (3000, 4173, 5173, 8080)
_DEVELOPMENT_PAGES = tuple(
    f"http://{name}:{port}" for name in ("localhost", "127.0.0.1") for port in _DEVELOPMENT_PORTS
)

Names = Annotated[tuple[str, ...], NoDecode]
"""In the environment: separated by commas."""


class Switch(StrEnum):
    """`auto` is off exactly while the gateway listens on loopback."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class GatewaySettings(IntakeSettings):
    """Where it listens, what it takes, and from whom."""

    host: str = Field(default="127.0.0.1", description="Address that both ports listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="The main API.")
    monitor_port: int = Field(default=8001, ge=0, le=65535, description="The training monitor.")
    max_upload_bytes: int = Field(default=52_428_800, ge=1, description="Largest file that is taken.")
    max_body_bytes: int = Field(
        default=1_048_576, ge=1, description="Largest body that is taken where none brings a file."
    )
    gateway_database: str = Field(
        default="tunedeck_gateway", description="MongoDB database of API keys, tickets and counters."
    )
    auth: Switch = Field(default=Switch.AUTO, description="Whether an API key is asked for: auto, on or off.")
    key_cache_seconds: float = Field(
        default=20.0,
        ge=0,
        le=25,
        description="How long a looked-up key is believed.",
    )
    stream_check_seconds: float = Field(
        default=30.0, gt=0, le=60, description="How often the key of an open stream is looked at again."
    )
    allowed_hosts: Names = Field(
        default=(),
        description="Names beside those of loopback that the gateway answers under, separated by commas. "
        "Listening elsewhere than on loopback, it answers under any name while this is empty or has *.",
    )
    cors_origins: Names = Field(
        default=_DEVELOPMENT_PAGES,
        description="Origins whose pages may use the API from a browser, separated by commas.",
    )
    trusted_proxies: Names = Field(
        default=(),
        description="Addresses or networks of proxies whose X-Forwarded-For is believed, by commas.",
    )
    limits: Switch = Field(default=Switch.AUTO, description="Whether requests are limited: auto, on or off.")
    search_limit: str = Field(default="100/minute", description="Searches of the Hub, for each address.")
    upload_limit: str = Field(default="10/hour", description="Files sent, for each key or address.")
    refused_limit: str = Field(
        default="10/minute", description="Keys that are none, for each address; more are not looked up."
    )
    stream_limit: int = Field(
        default=20,
        ge=1,
        description="Live streams at once, for each key or address, where requests are limited.",
    )
    request_limit: str = Field(default="1000/hour", description="Other requests, for each key or address.")

    @field_validator("allowed_hosts", mode="after")
    @classmethod
    def _bare_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(host_name(name) or name for name in names)

    @field_validator("cors_origins", mode="after")
    @classmethod
    def _as_browsers_write_them(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(origin.lower().rstrip("/") for origin in origins)

    @field_validator("allowed_hosts", "cors_origins", "trusted_proxies", mode="before")
    @classmethod
    def _separated(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(name for part in value.split(",") if (name := part.strip()))
