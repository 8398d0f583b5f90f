"""Builds the two FastAPI applications: the only place that names the gateway's adapters."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import structlog
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from pymongo.errors import PyMongoError
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

from tunedeck_chassis import mongo
from tunedeck_chassis.blobs import BLOBS_DATABASE, BlobStore
from tunedeck_chassis.broker import create_broker
from tunedeck_chassis.bus import Bus
from tunedeck_chassis.disk_guard import DiskGuard
from tunedeck_chassis.presence import Presence
from tunedeck_chassis.service import started
from tunedeck_gateway import errors, openapi
from tunedeck_gateway.access.cors import Cors
from tunedeck_gateway.access.keys import Keys
from tunedeck_gateway.access.limits import RATE_LIMIT_HEADERS, Limits
from tunedeck_gateway.access.middleware import Access, AccessMiddleware
from tunedeck_gateway.access.origins import Origins, answered_names, is_loopback
from tunedeck_gateway.access.repository import KeyRepository, TicketRepository
from tunedeck_gateway.access.tickets import Tickets
from tunedeck_gateway.body_limit import BodyLimit
from tunedeck_gateway.bridge import Gateway
from tunedeck_gateway.correlation import HEADER, CorrelationMiddleware
from tunedeck_gateway.routes import (
    access,
    datasets,
    hyperparameters,
    jobs,
    models,
    training,
    uploads,
    workflow,
)
from tunedeck_gateway.routes.health import API_VERSION, health_routes
from tunedeck_gateway.settings import GatewaySettings, Switch
from tunedeck_gateway.unread_body import UnreadBody

log = structlog.get_logger()

_PREPARE_AGAIN_SECONDS = 1.0
_MAIN_HEALTH = health_routes(
    "CSV Preview API is running",
    "CSV Preview API",
    {"preview": "/api/preview-csv", "health": "/api/health"},
)
_MONITOR_HEALTH = health_routes(
    "Training Monitor API is running",
    "Training Monitor API",
    {"summary": "/api/training/summary", "health": "/api/health"},
)


class PortSwitch:
    """One ASGI application for both ports: which API answers is told by the port that was asked."""

    def __init__(self, main: FastAPI, monitor: FastAPI, monitor_port: int) -> None:
        self.main = main
        self.monitor = monitor
        self._monitor_port = monitor_port
        # Outside of everything, so that no answer goes without its id.
        self._outermost = CorrelationMiddleware(UnreadBody(self._switch))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the connection on; the lifespan is the main API's."""
        await self._outermost(scope, receive, send)

    async def _switch(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = scope.get("server") or ("", 0)
        app: ASGIApp = self.monitor if asked[1] == self._monitor_port else self.main
        await app(scope, receive, send)


def create_app(settings: GatewaySettings, monitor_port: int) -> PortSwitch:
    """The main API and the training monitor over one connection to the bus."""
    presence = Presence()
    client = mongo.connect(settings, presence=presence)
    broker = create_broker(settings, "gateway")
    stored_tickets = TicketRepository(client, settings.gateway_database)
    gateway = Gateway(
        settings,
        Bus(broker),
        BlobStore(client[BLOBS_DATABASE], presence),
        partial(mongo.problem, client),
        Keys(KeyRepository(client, settings.gateway_database), settings.key_cache_seconds, presence),
        Tickets(stored_tickets, presence),
        DiskGuard(client[settings.gateway_database], settings.least_free_bytes, presence),
    )
    limits = Limits(client, settings, presence) if is_on(settings.limits, settings) else None

    async def prepare() -> None:
        await gateway.blobs.prepare()
        await stored_tickets.prepare()
        if limits is not None:
            await limits.counters.prepare()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with started(broker):
            # Without MongoDB it says so to who asks, which it could not before it listens.
            preparing = asyncio.create_task(_until_done(prepare))
            yield
            preparing.cancel()
        await client.close()

    guard = _access(gateway, limits, presence, settings, monitor_port)
    main = _api("Tunedeck", lifespan, guard, settings)
    for router in (
        _MAIN_HEALTH,
        models.router,
        datasets.router,
        uploads.router,
        hyperparameters.router,
        workflow.router,
        jobs.router,
        training.router,
        access.router,
    ):
        main.include_router(router)
    monitor = _api("Tunedeck training monitor", None, guard, settings)
    for router in (_MONITOR_HEALTH, training.router):
        monitor.include_router(router)
    for app in (main, monitor):
        app.state.gateway = gateway
        openapi.complete(app)
    return PortSwitch(main, monitor, monitor_port)


async def _until_done(prepare: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            return await prepare()
        except PyMongoError as error:
            log.warning("not_prepared_yet", error=repr(error))
            await asyncio.sleep(_PREPARE_AGAIN_SECONDS)


def is_on(switch: Switch, settings: GatewaySettings) -> bool:
    """Whether keys are asked for, or requests limited."""
    return switch is Switch.ON or (switch is Switch.AUTO and not is_loopback(settings.host))


def _access(
    gateway: Gateway, limits: Limits | None, database: Presence, settings: GatewaySettings, monitor_port: int
) -> Access:
    names = answered_names(settings.host, settings.allowed_hosts)
    return Access(
        origins=Origins(names, settings.cors_origins, {settings.port, monitor_port}),
        keys=gateway.keys if is_on(settings.auth, settings) else None,
        limits=limits,
        tickets=gateway.tickets,
        database=database,
        stream_check_seconds=settings.stream_check_seconds,
        most_streams=settings.stream_limit,
    )


def _api(title: str, lifespan: Lifespan[FastAPI] | None, guard: Access, settings: GatewaySettings) -> FastAPI:
    app = FastAPIOffline(
        title=title,
        description=openapi.ABOUT,
        version=API_VERSION,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
        static_url="/docs/assets",
        redoc_url=None,
    )
    # The last one added is the outermost: a page of another origin can read why it was refused.
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    app.add_middleware(AccessMiddleware, access=guard)
    app.add_middleware(
        Cors,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST", "PATCH", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", HEADER],
        expose_headers=["Content-Disposition", "ETag", "Retry-After", HEADER, *RATE_LIMIT_HEADERS],
    )
    errors.install(app)
    return app
