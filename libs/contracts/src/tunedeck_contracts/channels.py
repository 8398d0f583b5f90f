"""Every event on the bus as data: where it goes, what it carries, who tells it, who listens.

The table of requests is `rpc.py`. AsyncAPI documents are made of both.
"""

from dataclasses import dataclass

from tunedeck_contracts import events, generation, subjects, telemetry, training
from tunedeck_contracts.message import Message
from tunedeck_contracts.streams import DLQ, JOBS, TRAINING, Stream

SERVICES = ("gateway", "catalog", "jobs", "telemetry", "trainer")


@dataclass(frozen=True)
class EventChannel:
    """One kind of event. `address` has its parameter in braces, as AsyncAPI writes it.

    Without a stream it goes over a core subject: who listens now hears it, and nobody keeps it.
    """

    name: str
    address: str
    stream: Stream | None
    message: type[Message]
    senders: tuple[str, ...]
    receivers: tuple[str, ...]
    description: str


def _training(kind: subjects.TrainingKind, message: type[Message], description: str) -> EventChannel:
    return EventChannel(
        name=f"training_{kind.value}",
        address=subjects.TRAINING_EVENTS.replace("*", kind.value, 1).replace("*", "{uid}"),
        stream=TRAINING,
        message=message,
        senders=("trainer",),
        receivers=("telemetry", "gateway"),
        description=description,
    )


EVENT_CHANNELS = (
    EventChannel(
        name="job_start",
        address=subjects.JOB_START,
        stream=JOBS,
        message=events.JobStart,
        senders=("jobs",),
        receivers=("trainer",),
        description="A wake-up for trainers: some job is queued. Carries no state.",
    ),
    EventChannel(
        name="job_event",
        address=subjects.JOB_EVENTS.replace("*", "{uid}"),
        stream=JOBS,
        message=events.JobEvent,
        senders=("jobs",),
        receivers=("telemetry", "trainer", "gateway"),
        description="A job has changed; `rev` counts the changes of one job without a hole.",
    ),
    _training(subjects.TrainingKind.LOSS, training.LossRecorded, "A loss point of a run."),
    _training(
        subjects.TrainingKind.RESOURCES,
        training.ResourcesRecorded,
        "A sample of the hardware; an idle trainer tells its host's under its own id.",
    ),
    _training(subjects.TrainingKind.LOG, training.LogRecorded, "A line of a run's log."),
    EventChannel(
        name="generation",
        address=subjects.GENERATION_EVENTS.replace("*", "{stream_id}"),
        stream=None,
        message=generation.GenerationEvent,
        senders=("trainer",),
        receivers=("gateway",),
        description="An answer of a model, token by token, to who has asked for it.",
    ),
    EventChannel(
        name="dead_letter",
        address=subjects.DEAD_LETTERS.replace("*", "{service}"),
        stream=DLQ,
        message=telemetry.DeadLetter,
        senders=("telemetry",),
        receivers=(),
        description="A message that a service could not handle, for an operator.",
    ),
)
