"""How a service says that it lives."""

from pydantic import Field

from tunedeck_contracts.message import Message


class CheckHealth(Message):
    """Are you well?"""


class Health(Message):
    """`status` is 'healthy' or 'unhealthy'; `problems` says what is away."""

    service: str
    status: str
    problems: list[str] = []
    packages: dict[str, str] = Field(default={}, description="Versions of what matters in this service.")
