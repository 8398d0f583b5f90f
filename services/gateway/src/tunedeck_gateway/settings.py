"""Settings of the gateway."""

from pydantic import Field

from tunedeck_chassis.settings import ServiceSettings


class GatewaySettings(ServiceSettings):
    """Where it listens and what it takes."""

    host: str = Field(default="127.0.0.1", description="Address that both ports listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="The main API.")
    monitor_port: int = Field(default=8001, ge=0, le=65535, description="The training monitor.")
    max_upload_bytes: int = Field(default=52_428_800, ge=1, description="Largest file that is taken.")
