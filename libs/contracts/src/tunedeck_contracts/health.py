"""How a service says that it lives."""

from typing import Literal

from pydantic import Field

from tunedeck_contracts.errors import ErrorReply
from tunedeck_contracts.message import Message


class CheckHealth(Message):
    """Are you well?"""


class Health(Message):
    """`problems` says what is away."""

    service: str
    status: Literal["healthy", "unhealthy"]
    problems: list[str] = []
    packages: dict[str, str] = Field(default={}, description="Versions of what matters in this service.")


class Running(Message):
    """What `GET /` answers."""

    message: str
    status: Literal["healthy"] = "healthy"
    name: Literal["Tunedeck"] = "Tunedeck"


class PartHealth(Message):
    """One service or server."""

    status: Literal["healthy", "unhealthy"]
    problems: list[str] = Field(description="What is wrong, in sentences; empty when it is healthy.")


class SystemHealth(Message):
    """What `GET /api/health` answers."""

    status: Literal["healthy", "unhealthy"]
    service: str
    version: str
    name: Literal["Tunedeck"] = "Tunedeck"
    dependencies: dict[str, str] = Field(
        description="Installed versions by package; a service that is away names none."
    )
    endpoints: dict[str, str]
    services: dict[str, PartHealth] = Field(description="By the service's name.")
    servers: dict[str, PartHealth] = Field(description="`nats` and `mongodb`.")


class SystemUnwell(SystemHealth, ErrorReply):
    """The same as an error: `detail` names what is away."""
