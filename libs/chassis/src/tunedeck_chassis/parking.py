"""The dead-letter stream: where a message goes that its service cannot handle."""

import base64

import structlog
from faststream.nats import NatsBroker
from nats.aio.msg import Msg

from tunedeck_contracts import cloudevents, subjects
from tunedeck_contracts.message import utc_now
from tunedeck_contracts.streams import MAX_DELIVERIES
from tunedeck_contracts.telemetry import DeadLetter

log = structlog.get_logger()

DEADLY_DELIVERIES = 10
"""More than a failing handler gets: deaths of the service that the message did not cause count too."""

MOST_KEPT_BYTES = 1024 * 1024
"""A dead letter must itself fit on the bus; of a larger message its beginning is kept."""


class Parking:
    """Parks a message in the stream DLQ, then tells JetStream to deliver it no more."""

    def __init__(self, broker: NatsBroker, service: str) -> None:
        self._broker = broker
        self._service = service

    def is_last(self, deliveries: int) -> bool:
        """Whether a failure of its handler is the message's last."""
        return deliveries >= MAX_DELIVERIES

    def is_deadly(self, deliveries: int) -> bool:
        """Whether the message came so often that its handler must be what ends the process each time."""
        return deliveries > DEADLY_DELIVERIES

    async def park(self, raw: Msg, *, reason: str) -> None:
        """Keep the message for an operator. The id makes parking it twice the same as once."""
        metadata = raw.metadata
        letter = DeadLetter(
            service=self._service,
            subject=raw.subject,
            reason=reason[:2000],
            deliveries=metadata.num_delivered,
            headers=dict(raw.headers or {}),
            data=base64.b64encode(raw.data[:MOST_KEPT_BYTES]).decode(),
            size=len(raw.data),
            parked_at=utc_now(),
        )
        event = cloudevents.event(
            subject=subjects.dead_letter(self._service),
            id=f"{self._service}:{metadata.stream}:{metadata.sequence.stream}",
            type="dev.tunedeck.message.parked.v1",
            source=f"/tunedeck/{self._service}",
            about=raw.subject,
            data=letter,
        )
        await self._broker.connection.jetstream().publish(event.subject, event.data, headers=event.headers())
        await raw.term()
        log.error("message_parked", subject=raw.subject, reason=reason[:300])
