"""Settings of the telemetry service."""

from pydantic import Field

from tunedeck_chassis.settings import ServiceSettings


class TelemetrySettings(ServiceSettings):
    """Where the points are."""

    telemetry_database: str = Field(
        default="tunedeck_telemetry", description="MongoDB database of the points."
    )
