"""Builds the broker, and registers the handlers of requests and of streams."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, PullSub

from tunedeck_chassis.blobs import BlobStore
from tunedeck_chassis.connection import ClosedGuard, connection_options, security
from tunedeck_chassis.heartbeat import Heartbeat
from tunedeck_chassis.link import Link
from tunedeck_chassis.middleware import ServiceMiddleware
from tunedeck_chassis.parking import Parking
from tunedeck_chassis.presence import Presence
from tunedeck_chassis.replies import Replies
from tunedeck_chassis.requests import RequestServer, Router
from tunedeck_chassis.settings import ServiceSettings
from tunedeck_contracts.rpc import Rpc
from tunedeck_contracts.streams import Consumer
from tunedeck_contracts.subjects import inbox

Handler = TypeVar("Handler", bound=Callable[..., Awaitable[Any]])

GRACEFUL_TIMEOUT = 10.0


def create_broker(
    settings: ServiceSettings,
    service: str,
    blobs: BlobStore | None = None,
    database: Presence | None = None,
) -> NatsBroker:
    """The broker of a service, with the one middleware.

    `blobs` takes the replies that are too large for the bus; while `database`
    is away, requests are refused soon. The guard that
    ends the process when the connection closes for good is in the broker's
    context as `closed_guard`, what answers requests as `request_server`, what
    knows of outages as `link`, what shows that the process works as `heartbeat`.
    """
    guard, link = ClosedGuard(), Link()
    broker = NatsBroker(
        settings.nats_url,
        closed_cb=guard.on_closed,
        graceful_timeout=GRACEFUL_TIMEOUT,
        logger=None,
        security=security(settings),
        **connection_options(service, link),
    )
    parking = Parking(broker, service)
    broker.add_middleware(partial(ServiceMiddleware, parking=parking))
    broker.context.set_global("closed_guard", guard)
    broker.context.set_global("link", link)
    broker.context.set_global("heartbeat", Heartbeat(settings.heartbeat_file, link))
    broker.context.set_global("request_server", RequestServer(broker, Replies(blobs), database))
    broker.context.set_global("parking", parking)
    return broker


def request_handler(router: Router, rpc: Rpc[Any, Any]) -> Callable[[Handler], Handler]:
    """Register a free function that answers one request: `async def get(message: GetJob, ...) -> Job`.

    The replicas of a service share its requests; each handles many at a time.
    """

    def register(handler: Handler) -> Handler:
        router.add_request(rpc, handler)
        return handler

    return register


def event_handler(router: Router, consumer: Consumer) -> Callable[[Handler], Handler]:
    """Register a free function for the messages of a durable, one at a time and in order.

    It takes `body: bytes` and decodes it. A pydantic ValidationError or a
    TunedeckError is permanent: the message is parked. Any other error is
    transient: the message comes again, later each time.
    """
    subscriber = router.subscriber(
        consumer.filter_subject,
        durable=consumer.name,
        stream=JStream(consumer.stream, declare=False),
        pull_sub=PullSub(batch_size=1, timeout=5.0),
        # FastStream takes nats-py's default else, where this service may not listen.
        inbox_prefix=f"{inbox(consumer.service)}.".encode(),
        ack_policy=AckPolicy.MANUAL,
        decoder=_undecoded,
    )

    def register(handler: Handler) -> Handler:
        subscriber(handler)
        return handler

    return register


async def _undecoded(message: Any) -> Any:
    return message.body
