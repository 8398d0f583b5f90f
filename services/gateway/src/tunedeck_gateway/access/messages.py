"""What is said about keys and tickets over HTTP; none of it goes over the bus."""

from pydantic import Field

from tunedeck_contracts.message import CamelMessage, Message, Timestamp
from tunedeck_gateway.access.keys import ApiKey, Scope


class CreateKey(CamelMessage):
    """What `POST /api/keys` takes."""

    name: str = Field(min_length=1, max_length=200, description="Says whose key it is, or what for.")
    scope: Scope = Field(default=Scope.READ, description="Each scope allows all before it.")
    expires_in_days: int | None = Field(
        default=None, strict=True, ge=1, le=3650, description="How long the key is good; for ever when null."
    )


class ShownKey(CamelMessage):
    """A key without its secret, which nobody can be shown again."""

    id: str = Field(description="What follows `ftk_` in the key.")
    name: str = Field(description="As it was given.")
    scope: Scope = Field(description="read, write or admin.")
    created_at: Timestamp = Field(description="When it was made.")
    expires_at: Timestamp | None = Field(description="From when it is refused; null for never.")
    last_used_at: Timestamp | None = Field(description="To a minute; null before the first use.")
    revoked_at: Timestamp | None = Field(description="When it was ended; null while it is in force.")


class CreatedKey(ShownKey):
    """What `POST /api/keys` answers."""

    key: str = Field(description="The key itself, shown this once.")


class KeyList(Message):
    """What `GET /api/keys` answers, the newest first."""

    keys: list[ShownKey] = Field(description="Ended ones too.")


class AskTicket(Message):
    """What `POST /api/ws-ticket` takes."""

    job_id: str = Field(min_length=1, max_length=64, description="The job whose stream it is for.")


class Ticket(Message):
    """What `POST /api/ws-ticket` answers: `/ws/training/{job_id}?ticket=...` takes it, once."""

    ticket: str = Field(description="Good for one connection.")
    expires_in: int = Field(description="Seconds.")


def shown(key: ApiKey) -> ShownKey:
    """The key as it is shown."""
    return ShownKey(**{name: value for name, value in vars(key).items() if name != "secret_sha256"})
