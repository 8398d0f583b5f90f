"""CloudEvents 1.0, binary mode: the attributes travel as `ce-*` headers, the data is the body.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/nats-protocol-binding.md
"""

from dataclasses import dataclass
from datetime import datetime

from tunedeck_contracts.message import Message, utc_now

CORRELATION_ID = "correlation_id"
"""The header that follows one request through every service (FastStream's own name for it)."""

TIME_LIMIT = "Tunedeck-Time-Limit"
"""Seconds after which the caller gives up, counted from the arrival: no two machines' clocks are compared."""
"""Header of a request: Unix time in seconds after which nobody waits for the answer."""

STATUS = "Tunedeck-Status"
"""Header of a reply: the HTTP status; absent means 200."""

BLOB = "Tunedeck-Blob"
"""Header of a reply whose body is a blob of this id, because it is too large for the bus."""

MESSAGE_ID = "Nats-Msg-Id"
"""JetStream's de-duplication key, per stream."""

REPLAY_OF = "Tunedeck-Replay-Of"
"""Header of a message that an operator has sent again: the sequence of its letter in the stream DLQ."""


@dataclass(frozen=True)
class Event:
    """One event as it is published: the subject, the attributes, the data.

    `id` is also the de-duplication key, so publishing again is harmless.
    """

    subject: str
    id: str
    type: str
    source: str
    about: str
    data: bytes
    time: datetime

    def headers(self, correlation_id: str | None = None) -> dict[str, str]:
        """The NATS headers of the event."""
        headers = {
            "ce-specversion": "1.0",
            "ce-id": self.id,
            "ce-type": self.type,
            "ce-source": self.source,
            "ce-subject": self.about,
            "ce-time": self.time.isoformat().replace("+00:00", "Z"),
            "content-type": "application/json",
            MESSAGE_ID: self.id,
        }
        if correlation_id is not None:
            headers[CORRELATION_ID] = correlation_id
        return headers


def event(*, subject: str, id: str, type: str, source: str, about: str, data: Message) -> Event:
    """Build an event that happened now. `type` has its version: `dev.tunedeck.job.created.v1`."""
    return Event(
        subject=subject,
        id=id,
        type=type,
        source=source,
        about=about,
        data=data.to_json(),
        time=utc_now(),
    )
