"""The streams and durable consumers, as data. `tunedeck provision` makes them; services assert them."""

from dataclasses import dataclass
from datetime import timedelta

from tunedeck_contracts import subjects

MAX_PAYLOAD = 8 * 1024 * 1024
"""Bytes; `max_payload` of every nats-server configuration, asserted at start."""

INLINE_REPLY_LIMIT = 4 * 1024 * 1024
"""Bytes; a reply above this goes through the blob store as a reference."""

MAX_DELIVERIES = 6
"""Deliveries of one message before its handler's failure is permanent, and it is parked.

NATS itself has no limit: what it would deliver no more, while its service could not park it, would be lost.
"""


@dataclass(frozen=True)
class Stream:
    """A JetStream stream: file storage, limits retention, one replica by default."""

    name: str
    subjects: tuple[str, ...]
    max_age: timedelta
    duplicate_window: timedelta
    asynchronous: bool = False
    """Acknowledge before the write is synced: for points, which the trainer's spool can send again."""


@dataclass(frozen=True)
class Consumer:
    """A durable pull consumer of one service; its name is the durable's."""

    name: str
    service: str
    stream: str
    filter_subject: str
    ack_wait: timedelta = timedelta(seconds=30)
    max_ack_pending: int = 256
    max_deliver: int = -1


JOBS = Stream(
    name="JOBS",
    subjects=(subjects.JOB_START, subjects.JOB_EVENTS),
    max_age=timedelta(days=7),
    duplicate_window=timedelta(minutes=10),
)
TRAINING = Stream(
    name="TRAINING",
    subjects=(subjects.TRAINING_EVENTS,),
    max_age=timedelta(hours=24),
    duplicate_window=timedelta(minutes=10),
    asynchronous=True,
)
DLQ = Stream(
    name="DLQ",
    subjects=(subjects.DEAD_LETTERS,),
    max_age=timedelta(days=30),
    duplicate_window=timedelta(minutes=10),
)
STREAMS = (JOBS, TRAINING, DLQ)

TELEMETRY_JOBS = Consumer(
    name="telemetry-jobs", service="telemetry", stream=JOBS.name, filter_subject=subjects.JOB_EVENTS
)
TELEMETRY_TRAINING = Consumer(
    name="telemetry-training",
    service="telemetry",
    stream=TRAINING.name,
    filter_subject=subjects.TRAINING_EVENTS,
    max_ack_pending=1000,
)
CONSUMERS = (TELEMETRY_JOBS, TELEMETRY_TRAINING)
